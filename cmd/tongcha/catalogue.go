package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/coverage"
)

func newCatalogue() *cobra.Command {
	cmd := &cobra.Command{
		Use: "catalogue", Short: "Exchange the catalogue of a running hub with an authority's CSV file",
		Long: "Exchange the catalogue of a running hub with an authority's CSV file: which platforms there are, which of\n" +
			"them are obliged to join, since when, and what each weighs in the coverage figures. The columns are\n" +
			"platform_id,name_zh,name_en,category,weight,obliged_since,source; docs/coverage.md describes them.",
	}
	cmd.AddCommand(newCatalogueImport(), newCatalogueDiff(), newCatalogueExport())
	return cmd
}

func newCatalogueImport() *cobra.Command {
	req := new(adminv1.ImportCatalogueRequest)
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Take over the rows of a file, all or none of them", Args: cobra.ExactArgs(1),
		Long: "Take over the rows of a file, all of them or, if one is wrong, none. Whether and where a platform has joined\n" +
			"never changes. A platform that the file does not have stays as it is; with --remove-missing one that never\n" +
			"joined is taken out. FILE may be - for standard input.",
		RunE: func(cmd *cobra.Command, args []string) error {
			resp, err := importCatalogue(cmd, args[0], req)
			if err != nil {
				return err
			}
			did := "imported"
			if req.DryRun {
				did = "not imported, as --dry-run says"
			}
			return emitChanges(cmd, resp, did)
		},
	}
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only say what would change")
	cmd.Flags().BoolVar(&req.RemoveMissing, "remove-missing", false, "take out platforms that are not in the file and never joined")
	addOutput(cmd)
	return cmd
}

func newCatalogueDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff FILE", Short: "Say what importing a file would change", Args: cobra.ExactArgs(1),
		Long: "Say what importing a file would change, column by column, and which platforms it does not have.\n" +
			"The exit code is 0 where the file is the catalogue, 4 where they differ, and another one after an error.\n" +
			"FILE may be - for standard input.",
		RunE: func(cmd *cobra.Command, args []string) error {
			resp, err := importCatalogue(cmd, args[0], &adminv1.ImportCatalogueRequest{DryRun: true})
			if err != nil {
				return err
			}
			if err := emitChanges(cmd, resp, "compared"); err != nil {
				return err
			}
			if len(resp.GetChanges()) > 0 {
				return &exitError{code: exitDiffers, err: errors.New("the file differs from the catalogue")}
			}
			return nil
		},
	}
	addOutput(cmd)
	return cmd
}

// importCatalogue checks the file here, where every fault can be told line by
// line, and sends it.
func importCatalogue(cmd *cobra.Command, path string, req *adminv1.ImportCatalogueRequest) (resp *adminv1.ImportCatalogueResponse, err error) {
	if req.File, err = readCatalogue(cmd, path); err != nil {
		return nil, err
	}
	if _, err := coverage.ParseFile(req.File); err != nil {
		return nil, fmt.Errorf("%s can't be imported; nothing was changed:\n%w", path, err)
	}
	err = withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		resp, err = adminv1.NewCatalogueServiceClient(conn).ImportCatalogue(ctx, req)
		return err
	})
	return resp, err
}

func readCatalogue(cmd *cobra.Command, path string) ([]byte, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError("%w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	file, err := io.ReadAll(io.LimitReader(in, coverage.MaxFileBytes+1))
	if err != nil {
		return nil, usageError("%w", err)
	}
	return file, nil
}

func emitChanges(cmd *cobra.Command, resp *adminv1.ImportCatalogueResponse, did string) error {
	t := table{{"PLATFORM", "CHANGE", "COLUMN", "IN THE CATALOGUE", "IN THE FILE"}}
	count := make(map[string]int)
	for _, c := range resp.GetChanges() {
		count[c.GetKind()]++
		if len(c.GetFields()) == 0 {
			t = append(t, []string{c.GetPlatformId(), c.GetKind(), "-", catalogued(c), inFile(c)})
		}
		for _, f := range c.GetFields() {
			t = append(t, []string{c.GetPlatformId(), c.GetKind(), f.GetColumn(), dash(f.GetBefore()), dash(f.GetAfter())})
		}
	}
	if len(t) == 1 {
		t = nil
	}
	if err := emit(cmd, resp, t); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%d added, %d changed, %d removed, %d missing in the file, %d the same; %s.\n",
		count["ADDED"], count["CHANGED"], count["REMOVED"], count["MISSING"], resp.GetUnchanged(), did)
	return nil
}

func catalogued(c *adminv1.CatalogueChange) string {
	switch {
	case c.GetKind() == "ADDED":
		return "-"
	case c.GetJoined():
		return "joined"
	}
	return "catalogued"
}

func inFile(c *adminv1.CatalogueChange) string {
	if c.GetKind() == "ADDED" {
		return "new"
	}
	return "-"
}

func newCatalogueExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Print the catalogue as such a file", Args: cobra.NoArgs,
		Example: "  tongcha catalogue export >catalogue.csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form, err := cmd.Flags().GetString("output"); err != nil || form != "csv" {
				return usageError("-o must be csv")
			}
			return withConn(cmd, adminTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				resp, err := adminv1.NewCatalogueServiceClient(conn).ExportCatalogue(ctx, &adminv1.ExportCatalogueRequest{})
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(resp.GetFile())
				return err
			})
		},
	}
	cmd.Flags().StringP("output", "o", "csv", "csv")
	return cmd
}
