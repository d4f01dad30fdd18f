package admin_test

import (
	"errors"
	"reflect"
	"testing"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/fault"
)

const (
	heading = "platform_id,name_zh,name_en,category,weight,obliged_since,source\n"
	row     = "shop,商城,,网上购物,12.5,2026-10-01,通知\n"
)

func TestCatalogueFile(t *testing.T) {
	d := newDesk(t)
	_, err := d.AddPlatform(t.Context(), shop())
	d.must(err)
	out, err := d.file.ExportCatalogue(t.Context(), &adminv1.ExportCatalogueRequest{})
	if want := heading + "shop,购物,,网上购物,,,\n"; err != nil || string(out.GetFile()) != want {
		t.Errorf("export: %q %v", out.GetFile(), err)
	}
	resp, err := d.file.ImportCatalogue(t.Context(), &adminv1.ImportCatalogueRequest{File: []byte(heading + row), DryRun: true, RemoveMissing: true})
	d.must(err)
	if c := resp.GetChanges(); len(c) != 1 || c[0].GetKind() != "CHANGED" || !c[0].GetJoined() || len(c[0].GetFields()) != 4 ||
		c[0].GetFields()[1].GetColumn() != "weight" || c[0].GetFields()[1].GetBefore() != "" || c[0].GetFields()[1].GetAfter() != "12.5" {
		t.Errorf("%v", resp)
	}
	_, err = d.file.ImportCatalogue(t.Context(), &adminv1.ImportCatalogueRequest{File: []byte(heading + row)})
	d.must(err)
	_, err = d.file.ImportCatalogue(t.Context(), &adminv1.ImportCatalogueRequest{File: []byte(heading + row + "x," + number + ",,,,,\n")})
	d.wants("a bad file", err, fault.CatalogueInvalid, "")
	_, err = d.file.ImportCatalogue(t.Context(), &adminv1.ImportCatalogueRequest{})
	d.wants("no file", err, fault.CatalogueInvalid, "")
	if want := []string{"1 true true", "1 false false"}; !reflect.DeepEqual(d.catalogue.imports, want) {
		t.Errorf("imports %v, want %v", d.catalogue.imports, want)
	}
	d.catalogue.err = errors.New("disk full at /secret")
	_, err = d.file.ImportCatalogue(t.Context(), &adminv1.ImportCatalogueRequest{File: []byte(heading + row)})
	d.wants("a store that fails", err, fault.InternalError, "")
}
