package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/tongcha/tongcha/gen/go/tongcha/admin/v1"
	"github.com/tongcha/tongcha/server/platform"
)

// completionTimeout bounds what somebody who pressed TAB waits for a hub.
const completionTimeout = 2 * time.Second

const completionHelp = `Print a script that lets a shell complete tongcha's commands, flags and values with TAB. Ids of platforms
come from the running hub of --data; where none runs there are none.

For the shell that is open:

  bash   source <(tongcha completion bash)          # needs the package bash-completion
  zsh    source <(tongcha completion zsh)           # needs: autoload -U compinit; compinit
  fish   tongcha completion fish | source

For every shell to come:

  bash   tongcha completion bash > /etc/bash_completion.d/tongcha
  zsh    tongcha completion zsh > "${fpath[1]}/_tongcha"
  fish   tongcha completion fish > ~/.config/fish/completions/tongcha.fish
`

// addCompletion adds the completion command, and values to flags and arguments.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Short, c.Long = "Print a script for completion in bash, zsh, fish or PowerShell", completionHelp
	}
	completeTree(root)
}

// completeTree gives each flag the values it takes, whichever command has it, and
// keeps shells from offering files where none are meant.
func completeTree(cmd *cobra.Command) {
	if cmd.Flags().Lookup("output") != nil {
		forms := strings.FieldsFunc(strings.ReplaceAll(cmd.Flags().Lookup("output").Usage, " or ", ","), func(r rune) bool { return r == ',' || r == ' ' })
		complete(cmd, "output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
	}
	complete(cmd, "by", cobra.FixedCompletions(coverageGroups(), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "sort", cobra.FixedCompletions(coverageOrders(), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "state", cobra.FixedCompletions(orderStates(), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "category", cobra.FixedCompletions(platform.Categories(), cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	complete(cmd, "platform", platformIDs)
	if parent := cmd.Parent(); parent != nil && parent.Name() == "platform" && cmd.Name() != "list" && cmd.Name() != "add" {
		cmd.ValidArgsFunction = platformIDs
	}
	for _, sub := range cmd.Commands() {
		completeTree(sub)
	}
}

func complete(cmd *cobra.Command, flag string, values cobra.CompletionFunc) {
	if cmd.Flags().Lookup(flag) != nil {
		_ = cmd.RegisterFlagCompletionFunc(flag, values) // fails only for a flag that isn't there
	}
}

// platformIDs asks the running hub, with the names as descriptions. Where it does
// not answer nothing is offered: a shell is no place for an error.
func platformIDs(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	var out []string
	// The settings of a --config on the line that is being completed are not filled in
	// yet.
	if len(args) > 0 || applySettings(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_ = withConn(cmd, completionTimeout, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		resp, err := adminv1.NewAdminServiceClient(conn).ListPlatforms(ctx, &adminv1.ListPlatformsRequest{})
		if err != nil {
			return err
		}
		for _, p := range resp.GetPlatforms() {
			if strings.HasPrefix(p.GetPlatformId(), begun) {
				out = append(out, cobra.CompletionWithDesc(p.GetPlatformId(), p.GetDisplayName()))
			}
		}
		return nil
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}
