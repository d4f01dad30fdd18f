package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tongcha/tongcha/server/fault"
)

// Role is what a certificate's holder is to the hub.
type Role string

// The roles.
const (
	RoleHub       Role = "hub"
	RolePlatform  Role = "platform"
	RoleCarrier   Role = "carrier"
	RoleRegulator Role = "regulator"
	RoleOperator  Role = "operator"
)

// ParseRole reads a role.
//
// Errors: fault.RoleInvalid.
func ParseRole(s string) (Role, error) {
	r := Role(s)
	if !slices.Contains([]Role{RoleHub, RolePlatform, RoleCarrier, RoleRegulator, RoleOperator}, r) {
		return "", fault.RoleInvalid.On("role")
	}
	return r, nil
}

// Identity is who a certificate speaks for.
type Identity struct {
	TrustDomain string
	Role        Role
	ID          string
}

// String is the identity as a URI SAN: spiffe://<trust-domain>/<role>/<id>.
func (i Identity) String() string {
	return "spiffe://" + i.TrustDomain + "/" + string(i.Role) + "/" + i.ID
}

var (
	trustDomainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$`)
	idForm          = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,63}$`)
)

// valid reports whether every part has its strict form.
func (i Identity) valid() error {
	if !trustDomainForm.MatchString(i.TrustDomain) {
		return errTrustDomain
	}
	if _, err := ParseRole(string(i.Role)); err != nil {
		return err
	}
	if !idForm.MatchString(i.ID) {
		return fault.PlatformIDInvalid.On("id")
	}
	return nil
}

var (
	errTrustDomain = errors.New("a trust domain is 1 to 255 characters of a-z 0-9 . _ -, such as hub.example")
	errOneURI      = errors.New("the certificate must have exactly one URI SAN")
	errURIForm     = errors.New("the URI SAN must be spiffe://<trust-domain>/<role>/<id> and nothing more")
)

// ParseIdentity reads the identity of a certificate: exactly one URI SAN, in the
// strict form, with no port, user, query, fragment or escape. It does not verify
// the chain. Errors never repeat the certificate's content, so that they may be
// logged and shown.
func ParseIdentity(cert *x509.Certificate) (Identity, error) {
	if cert == nil || len(cert.URIs) != 1 {
		return Identity{}, errOneURI
	}
	return parseURI(cert.URIs[0])
}

// parseURI accepts only the one spelling that String gives, so that two
// spellings never name one peer.
func parseURI(u *url.URL) (Identity, error) {
	role, id, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok {
		return Identity{}, errURIForm
	}
	got := Identity{TrustDomain: u.Host, Role: Role(role), ID: id}
	if err := got.valid(); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", errURIForm, err)
	}
	if u.User != nil || u.ForceQuery || u.RawFragment != "" || u.String() != got.String() {
		return Identity{}, errURIForm
	}
	return got, nil
}
