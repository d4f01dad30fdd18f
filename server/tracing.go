package server

import (
	"context"
	"time"

	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/trace"
)

// flushTime bounds how long a stop waits for a collector to take the last spans.
const flushTime = 2 * time.Second

func (h *Hub) openTrace() (err error) {
	o := h.cfg.Trace
	o.Instance, o.Logger = h.cfg.ID, h.cfg.Logger
	h.trace, err = trace.Open(o)
	return err
}

// closeTrace sends the spans that are left; those that a collector doesn't take
// in time are lost, and nothing else.
func (h *Hub) closeTrace() {
	if h.trace == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := h.trace.Close(ctx); err != nil {
		h.cfg.Logger.Warn("the last spans were not sent", "error", err)
	}
}

// callSpan is nil where nothing is traced, which is what costs nothing.
func (h *Hub) callSpan() func(traceparent, method string, fromGateway bool) (string, func(string)) {
	if h.trace == nil {
		return nil
	}
	return h.trace.RPC
}

// platformSpan is nil where nothing is traced.
func (h *Hub) platformSpan() func(traceparent string, id platform.ID, kind string) (string, func(string)) {
	if h.trace == nil {
		return nil
	}
	return h.trace.Platform
}
