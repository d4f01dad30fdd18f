//go:build brokenfence

package bolt

const fenced = false
