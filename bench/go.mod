module github.com/tongcha/tongcha/bench

go 1.26.8

require (
	github.com/tongcha/tongcha v0.0.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/tongcha/tongcha => ../
