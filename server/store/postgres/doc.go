// Package postgres keeps orders in PostgreSQL, for several hubs that share them:
// it implements the ports of unbind.
//
// It is a spike: it shows that the ports fit, and no hub is built with it. All
// but this page is behind the build tag postgres.
package postgres
