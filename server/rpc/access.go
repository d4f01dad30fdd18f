package rpc

import (
	"context"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	oversightv1 "github.com/tongcha/tongcha/gen/go/tongcha/oversight/v1"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/pki"
	"github.com/tongcha/tongcha/server/verify"
)

// access is who may call a method.
type access uint8

const (
	nobody    access = iota // not even this: a method that is not listed is unknown to everybody
	anyPerson               // anybody at the gateway
	session                 // a person with an open session, at the gateway
	member                  // a platform, by its certificate
	oversight               // a regulator or operator, by certificate
	anyPeer                 // anybody with a certificate, and the gateway
)

// methods is the whole authorisation table. It is read only.
var methods = map[string]access{
	hubv1.CatalogueService_GetConsent_FullMethodName:                anyPerson,
	hubv1.CatalogueService_ListPlatforms_FullMethodName:             anyPerson,
	hubv1.VerificationService_CreateVerification_FullMethodName:     anyPerson,
	hubv1.VerificationService_ConfirmVerification_FullMethodName:    anyPerson,
	hubv1.LookupService_CreateLookup_FullMethodName:                 session,
	hubv1.LookupService_GetLookup_FullMethodName:                    session,
	hubv1.LookupService_WatchLookup_FullMethodName:                  session,
	hubv1.UnbindService_CreateUnbinds_FullMethodName:                session,
	hubv1.UnbindService_ListUnbinds_FullMethodName:                  session,
	hubv1.UnbindService_GetUnbind_FullMethodName:                    session,
	hubv1.UnbindService_CancelUnbind_FullMethodName:                 session,
	hubv1.UnbindService_AppealUnbind_FullMethodName:                 session,
	hubv1.MembershipService_ReportUnbind_FullMethodName:             member,
	hubv1.MembershipService_CheckNumber_FullMethodName:              member,
	oversightv1.CoverageService_GetCoverage_FullMethodName:          oversight,
	oversightv1.CoverageService_ListPlatformCoverage_FullMethodName: oversight,
	oversightv1.CoverageService_GetUnbindCoverage_FullMethodName:    oversight,
	oversightv1.CoverageService_GetRefusals_FullMethodName:          oversight,

	"/grpc.health.v1.Health/Check":                                   anyPeer,
	"/grpc.health.v1.Health/Watch":                                   anyPeer,
	"/grpc.health.v1.Health/List":                                    anyPeer,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      anyPeer,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": anyPeer,
}

// authorise lets the caller through or says why not. For a method that needs a
// session the session is looked up and put into the caller.
func (s *Server) authorise(ctx context.Context, method string, c *caller) error {
	need, known := methods[method]
	if !known {
		return fault.MethodUnknown.New()
	}
	switch need {
	case anyPerson:
		if c.fromGateway {
			return nil
		}
	case session:
		if !c.fromGateway {
			break
		}
		open, err := s.o.Verify.Session(ctx, verify.ParseToken(bearer(ctx)))
		c.session = open
		return err
	case member:
		if c.identity.Role == pki.RolePlatform && s.o.IsMember(c.identity.ID) {
			return nil
		}
	case oversight:
		if s.o.OpenCoverage || c.identity.Role == pki.RoleRegulator || c.identity.Role == pki.RoleOperator {
			return nil
		}
	case anyPeer:
		return nil
	}
	return fault.RoleDenied.New()
}
