//go:build brokenfence

package simtest

const fenced = false
