package rpc

import (
	"context"

	hubv1 "github.com/tongcha/tongcha/gen/go/tongcha/hub/v1"
	"github.com/tongcha/tongcha/server/platform"
	"github.com/tongcha/tongcha/server/verify"
)

// consentText is version 1 of what a person agrees to; once a hub has shown it to
// anybody, another text is another version. PIPL articles 17 and 23 ask for
// purpose, recipients, kept data and rights in plain words.
const consentText = "为查询并解绑您手机号码名下的互联网账号，我们需要处理您的手机号码和证件号码后 6 位：\n" +
	"一、手机号码将发送给下列平台，用于查询是否有账号绑定该号码；证件号码后 6 位只用于向运营商核验号码归属，不提供给任何平台。\n" +
	"二、如您另行同意解绑，我们会把解绑申请发送给您选择的平台；解绑只解除号码与账号的绑定，不会删除账号及其数据。\n" +
	"三、平台未及时答复的，我们会在 24 小时内继续向其查询，其间保留手机号码，并向运营商核验号码是否易主；全部答复后，可能发一条短信告知您。\n" +
	"四、查询结果保存 48 小时，证件号码后 6 位最多保存 15 分钟，均以加密方式存储，到期删除。\n" +
	"五、您可以不同意，也可以到各平台自行办理；您有权撤回同意、查阅和删除个人信息。"

// GetConsent implements hub.v1.CatalogueService.
func (h *handlers) GetConsent(context.Context, *hubv1.GetConsentRequest) (*hubv1.GetConsentResponse, error) {
	return &hubv1.GetConsentResponse{
		Version: verify.ConsentVersion, Text: consentText, Scopes: []string{verify.ScopeLookup, verify.ScopeUnbind}, Recipients: h.recipients(),
	}, nil
}

// recipients names every platform that would be asked now.
func (h *handlers) recipients() []string {
	var names []string
	for _, e := range h.o.Catalogue.Entries() {
		if e.Joined() {
			names = append(names, e.DisplayName)
		}
	}
	return names
}

// ListPlatforms implements hub.v1.CatalogueService.
func (h *handlers) ListPlatforms(_ context.Context, r *hubv1.ListPlatformsRequest) (*hubv1.ListPlatformsResponse, error) {
	after, err := parsePageToken(r.GetPageToken(), func(s string) bool { _, err := platform.ParseID(s); return err == nil })
	if err != nil {
		return nil, err
	}
	size := pageSize(r.GetPageSize(), 200, 500)
	resp := new(hubv1.ListPlatformsResponse)
	for _, e := range h.o.Catalogue.Entries() {
		if string(e.ID) <= after {
			continue
		}
		if len(resp.Platforms) == size {
			resp.NextPageToken = pageToken(resp.Platforms[size-1].PlatformId)
			break
		}
		resp.Platforms = append(resp.Platforms, h.platformEntry(e))
	}
	return resp, nil
}

func (h *handlers) platformEntry(e platform.Entry) *hubv1.PlatformEntry {
	p := &hubv1.PlatformEntry{
		PlatformId: string(e.ID), DisplayName: e.DisplayName, Category: e.Category, Joined: e.Joined(), Functions: e.Functions.Names(), Health: "NOT_JOINED",
	}
	url := e.SelfServiceURL
	if info, ok := h.o.Catalogue.Info(e.ID); ok {
		p.Functions, p.Health = info.Functions.Names(), string(info.Health)
		if url == "" {
			url = info.SelfServiceURL
		}
	}
	if e.Suspended {
		p.Health = "SUSPENDED"
	}
	p.SelfServiceUrl = optional(url)
	return p
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
