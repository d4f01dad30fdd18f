package sdk_test

import (
	"context"
	"fmt"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// shop is a whole platform: one account, bound to one number.
type shop struct{}

func (shop) Lookup(_ context.Context, s sdk.Subject) (sdk.Answer, error) {
	if s.PhoneNumber != "+8613800000001" {
		return sdk.Found(), nil
	}
	return sdk.Found(sdk.Account{Ref: "u-81f3", Product: "商城"}), nil
}

func (shop) Unbind(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
	return sdk.Completed(), nil // take o.PhoneNumber off o.AccountRefs here
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	err := sdk.Serve(ctx, sdk.Config{
		PlatformID: "shop", Address: "127.0.0.1:9443",
		CertFile: "cert.pem", KeyFile: "key.pem", CAFile: "ca.pem",
	}, shop{})
	fmt.Println(err)
	// Output: sdk: CertFile: open cert.pem: no such file or directory
}
