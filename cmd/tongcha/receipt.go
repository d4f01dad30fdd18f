package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/receipt"
)

func newReceipt() *cobra.Command {
	cmd := &cobra.Command{Use: "receipt", Short: "Verify the receipts of unbind orders"}
	cmd.AddCommand(newReceiptVerify())
	return cmd
}

type receiptFlags struct{ jwks, lang string }

func newReceiptVerify() *cobra.Command {
	f := new(receiptFlags)
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Say whether a hub signed a receipt, and what it says", Args: cobra.ExactArgs(1),
		Long: "Say whether a hub signed a receipt, and what it says. FILE holds the receipt alone, or the JSON of the order\n" +
			"that a person got from GET /v1/unbinds/{unbindId}; it may be - for standard input. Nothing is fetched: --jwks\n" +
			"is a file with the hub's public keys, saved from /.well-known/tongcha-receipt-keys.json by a way that is to be\n" +
			"trusted. Without it the keys are those of the hub in the data folder.\n\n" +
			"Exit codes: 0 valid, 1 not valid, 2 the command line or a file is wrong, 3 the key that signed is not known here.",
		Example: "  curl -s https://hub.example/.well-known/tongcha-receipt-keys.json >keys.json\n" +
			"  tongcha receipt verify receipt.jws --jwks keys.json",
		RunE: func(cmd *cobra.Command, args []string) error { return verifyReceipt(cmd, args[0], f) },
	}
	cmd.Flags().StringVar(&f.jwks, "jwks", "", "`FILE` with the hub's public keys, a JWK Set")
	cmd.Flags().StringVar(&f.lang, "lang", "", "zh or en; by default what LC_ALL or LANG says")
	addOutput(cmd)
	return cmd
}

// verdict is the answer as JSON. Nothing of a receipt is shown that is not valid.
type verdict struct {
	Valid   bool          `json:"valid"`
	Problem string        `json:"problem,omitempty"` // one of problemNames
	Receipt *receiptShown `json:"receipt,omitempty"`
}

type receiptShown struct {
	Issuer       string    `json:"issuer"`
	UnbindID     string    `json:"unbindId"`
	Sequence     int       `json:"sequence"`
	PlatformID   string    `json:"platformId"`
	DisplayName  string    `json:"displayName"`
	MaskedNumber string    `json:"maskedPhoneNumber"`
	AccountCount int       `json:"accountCount"`
	CreateTime   time.Time `json:"createTime"`
	DueTime      time.Time `json:"dueTime"`
	EndTime      time.Time `json:"endTime"`
	Outcome      string    `json:"outcome"`
	Reason       string    `json:"reason,omitempty"`
	RefusalText  string    `json:"refusalText,omitempty"`
}

func verifyReceipt(cmd *cobra.Command, path string, f *receiptFlags) error {
	words, err := receiptWords(f.lang)
	if err != nil {
		return err
	}
	if form, err := cmd.Flags().GetString("output"); err != nil || form != "table" && form != "json" {
		return usageError("-o must be table or json")
	}
	saved, err := readBounded(cmd, path, receipt.MaxBody)
	if err != nil {
		return err
	}
	keys, err := receiptKeys(cmd, f.jwks)
	if err != nil {
		return err
	}
	jws, err := receipt.Extract(saved)
	var r receipt.Receipt
	if err == nil {
		r, err = receipt.Verify(jws, keys)
	}
	if err != nil {
		return refuseReceipt(cmd, words, err)
	}
	// It was signed, and still may hold what a terminal should not get.
	r.PlatformName = platform.CleanText(r.PlatformName, platform.MaxRefusalText)
	r.RefusalText = platform.CleanText(r.RefusalText, platform.MaxRefusalText)
	return emit(cmd, verdict{Valid: true, Receipt: &receiptShown{
		r.Issuer, r.UnbindID, r.Sequence, r.PlatformID, r.PlatformName, r.MaskedNumber, r.AccountCount,
		r.CreateTime, r.DueTime, r.EndTime, r.Outcome, r.Reason, r.RefusalText,
	}}, words.table(r))
}

// refuseReceipt prints the verdict and returns what the exit code is made of.
func refuseReceipt(cmd *cobra.Command, w *words, err error) error {
	code, text := exitFailure, w.invalid+w.problem(err)
	if errors.Is(err, receipt.ErrKeyUnknown) {
		code, text = exitKeyUnknown, w.problem(err)
	}
	if form, _ := cmd.Flags().GetString("output"); form == "json" {
		if werr := writeJSON(cmd.OutOrStdout(), verdict{Problem: problemName(err)}); werr != nil {
			return werr
		}
	}
	return &exitError{code: code, err: errors.New(text)}
}

// readBounded reads FILE or, for -, standard input. A file that is too long is
// read one byte too far, for the parser to refuse.
func readBounded(cmd *cobra.Command, path string, most int64) ([]byte, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError("%w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, usageError("%w", err)
	}
	return text, nil
}

// receiptKeys are those of the file, or of the hub in the data folder.
func receiptKeys(cmd *cobra.Command, jwks string) (receipt.KeySet, error) {
	if jwks != "" {
		text, err := readBounded(cmd, jwks, receipt.MaxKeySet)
		if err != nil {
			return receipt.KeySet{}, err
		}
		keys, err := receipt.ParseKeySet(text)
		if err != nil {
			return receipt.KeySet{}, usageError("--jwks: %w", err)
		}
		return keys, nil
	}
	folder, err := hubFolder(cmd)
	if err != nil {
		return receipt.KeySet{}, err
	}
	s, err := receipt.Load(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return receipt.KeySet{}, &exitError{code: exitKeyUnknown, err: fmt.Errorf("there is no hub in %s whose keys could verify it; give --jwks FILE, saved from the hub's /.well-known/tongcha-receipt-keys.json", folder)}
	case err != nil:
		return receipt.KeySet{}, usageError("%w", err)
	}
	return s.Keys(), nil
}

// table is the receipt for people.
func (w *words) table(r receipt.Receipt) table {
	china := time.FixedZone("UTC+8", 8*60*60)
	at := func(t time.Time) string { return t.In(china).Format("2006-01-02 15:04:05 MST") }
	outcome := w.outcome[r.Outcome] + " (" + r.Outcome + ")"
	t := table{
		{w.receipt, w.valid},
		{w.issuer, r.Issuer},
		{w.order, r.UnbindID},
		{w.platform, r.PlatformName + " (" + r.PlatformID + ")"},
		{w.number, r.MaskedNumber},
		{w.accounts, strconv.Itoa(r.AccountCount)},
		{w.taken, at(r.CreateTime)},
		{w.due, at(r.DueTime)},
		{w.ended, at(r.EndTime)},
		{w.result, outcome},
	}
	if r.Reason != "" {
		text := r.Reason
		if said := w.reason[r.Reason]; said != "" {
			text = said + " (" + r.Reason + ")"
		}
		t = append(t, []string{w.because, text})
	}
	if r.RefusalText != "" {
		t = append(t, []string{w.says, r.RefusalText})
	}
	if r.EndTime.After(r.DueTime) {
		t = append(t, []string{w.late, w.yes})
	}
	return append(t, []string{w.appeals, strconv.Itoa(r.Sequence)})
}
