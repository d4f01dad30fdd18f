package fault_test

import (
	"strings"
	"testing"

	"github.com/tongcha/tongcha/server/fault"
)

type carried struct{}

func (carried) Where() string { return "on another goroutine" }

func TestWhere(t *testing.T) {
	for value, want := range map[any]string{"13912349876": "panic_test.go", carried{}: "on another goroutine"} {
		func() {
			defer func() {
				if got := fault.Where(recover()); !strings.Contains(got, want) || strings.Contains(got, "13912349876") {
					t.Errorf("%q", got)
				}
			}()
			panic(value)
		}()
	}
}
