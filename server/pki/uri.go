package pki

import "net/url"

// ParseIdentityURI reads an identity from the URI of a certificate that was
// verified elsewhere in this process.
func ParseIdentityURI(s string) (Identity, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Identity{}, errURIForm
	}
	return parseURI(u)
}
