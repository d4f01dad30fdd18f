//go:build !brokenfence

package bolt

// fenced is whether leases hold. It is false only in a program built to show that
// the tests would notice.
const fenced = true
