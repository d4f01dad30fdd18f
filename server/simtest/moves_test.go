package simtest

// moves is the table of docs/states.md, written down a second time: where an
// order may be said to be next.
var moves = map[string][]string{
	"QUEUED":          {"SENDING", "IN_REVIEW", "ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED"},
	"SENDING":         {"QUEUED", "APPEALED", "IN_REVIEW", "ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED"},
	"IN_REVIEW":       {"ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED"},
	"ACTION_REQUIRED": {"IN_REVIEW", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED"},
	"APPEALED":        {"SENDING", "IN_REVIEW", "ACTION_REQUIRED", "COMPLETED", "REFUSED", "ABANDONED", "CANCELLED"},
	"COMPLETED":       {},
	"REFUSED":         {},
	"ABANDONED":       {},
	"CANCELLED":       {},
}

// revivals are the moves out of an end: only by somebody's wish.
var revivals = map[string][]string{"REFUSED": {"APPEALED"}, "ABANDONED": {"QUEUED"}}

func final(state string) bool {
	out, known := moves[state]
	return known && len(out) == 0
}

// direct reports whether one move leads from a to b. An attempt that came to
// nothing leaves QUEUED, and is a step of its own.
func direct(a, b string, revived bool) bool {
	if a == b {
		return a == "QUEUED" || a == "APPEALED"
	}
	for _, s := range moves[a] {
		if s == b {
			return true
		}
	}
	if revived {
		for _, s := range revivals[a] {
			if s == b {
				return true
			}
		}
	}
	return false
}

// reachable reports whether moves lead from a to b: what a person is told are
// samples.
func reachable(a, b string, revived bool) bool {
	seen := map[string]bool{a: true}
	for next := []string{a}; len(next) > 0; next = next[1:] {
		if next[0] == b {
			return true
		}
		for s := range moves {
			if !seen[s] && direct(next[0], s, revived) {
				seen[s] = true
				next = append(next, s)
			}
		}
	}
	return false
}
