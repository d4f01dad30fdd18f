//go:build !brokenfence

package simtest

const fenced = true
