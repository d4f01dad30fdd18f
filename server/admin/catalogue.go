package admin

import (
	"context"
	"fmt"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/coverage"
	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/platform"
)

// CatalogueFile exchanges the catalogue with an authority's file.
type CatalogueFile interface {
	// Entries returns every catalogued platform, ordered by id.
	Entries() []platform.Entry
	// Import takes over the rows of a file, all or none of them, and says what
	// changed and how many rows changed nothing; with dryRun only what would.
	Import(ctx context.Context, rows []platform.Entry, dryRun, remove bool) ([]coverage.Change, int, error)
}

// ImportCatalogue implements admin.v1.CatalogueService.
func (s *service) ImportCatalogue(ctx context.Context, r *adminv1.ImportCatalogueRequest) (*adminv1.ImportCatalogueResponse, error) {
	rows, err := coverage.ParseFile(r.GetFile())
	if err != nil {
		return nil, fault.CatalogueInvalid.Wrap(err)
	}
	changes, unchanged, err := s.o.File.Import(ctx, rows, r.GetDryRun(), r.GetRemoveMissing())
	if err != nil {
		return nil, fmt.Errorf("import catalogue: %w", err)
	}
	resp := &adminv1.ImportCatalogueResponse{Unchanged: int32(unchanged)}
	for _, c := range changes {
		resp.Changes = append(resp.Changes, changeMessage(c))
	}
	return resp, nil
}

func changeMessage(c coverage.Change) *adminv1.CatalogueChange {
	m := &adminv1.CatalogueChange{PlatformId: string(c.ID), Kind: string(c.Kind), Joined: c.Joined}
	for _, f := range c.Fields {
		m.Fields = append(m.Fields, &adminv1.CatalogueFieldChange{Column: f.Column, Before: f.Before, After: f.After})
	}
	return m
}

// ExportCatalogue implements admin.v1.CatalogueService.
func (s *service) ExportCatalogue(context.Context, *adminv1.ExportCatalogueRequest) (*adminv1.ExportCatalogueResponse, error) {
	file, err := coverage.FormatFile(s.o.File.Entries())
	if err != nil {
		return nil, err
	}
	return &adminv1.ExportCatalogueResponse{File: file}, nil
}
