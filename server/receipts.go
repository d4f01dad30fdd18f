package server

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/tongcha/tongcha/server/receipt"
)

// openReceipts loads the keys of receipts, which are made where there are none: at
// the first start, and at the first one of a program that makes receipts.
func (h *Hub) openReceipts() (*receipt.Signer, error) {
	made := receipt.Create(h.cfg.Data)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return nil, fmt.Errorf("make receipt keys: %w", made)
	}
	s, err := receipt.Load(h.cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("load receipt keys: %w", err)
	}
	if made == nil {
		h.cfg.Logger.Info("receipt key made; copy it to where the sealing keys are kept", "file", receipt.KeyFile, "kid", s.Keys().IDs()[0])
	}
	return s, nil
}
