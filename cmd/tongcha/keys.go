package main

import (
	"github.com/spf13/cobra"

	"github.com/tongcha/tongcha/server/seal"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make the keys that seal personal fields"}
	add := &cobra.Command{
		Use: "new FILE", Short: "Make a key file for `serve --keys`; keep a copy of it apart from the database", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := seal.Create(args[0]); err != nil {
				return err
			}
			return emit(cmd, map[string]string{"file": args[0]}, table{{"KEY FILE"}, {args[0]}})
		},
	}
	addOutput(add)
	cmd.AddCommand(add)
	return cmd
}
