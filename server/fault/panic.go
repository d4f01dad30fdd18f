package fault

import "runtime/debug"

// Where is the stack of a panic whose value v was just recovered, without the
// value, which may be what a person typed. A value that was carried here from
// another goroutine knows better where that was, and says so by a method Where.
func Where(v any) string {
	if p, ok := v.(interface{ Where() string }); ok {
		return p.Where()
	}
	return string(debug.Stack())
}
