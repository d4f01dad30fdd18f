// Package chaos kills the real hub over and over, from outside and at chosen
// moments, and holds what people and platforms saw against what is promised.
//
// All of it are tests behind the build tag chaos: see `make chaos`.
package chaos
