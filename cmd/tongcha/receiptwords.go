package main

import (
	"cmp"
	"errors"
	"os"
	"strings"

	"github.com/tongcha/tongcha/server/receipt"
)

// words is what `receipt verify` says in one language: the desks that it is for
// read Chinese, their programs -o json.
type words struct {
	receipt, valid, invalid                   string
	issuer, order, platform, number, accounts string
	taken, due, ended, result, because, says  string
	late, yes, appeals                        string
	outcome, reason, problems                 map[string]string
}

// receiptWords are those of the language, "" for that of the environment.
func receiptWords(lang string) (*words, error) {
	if lang == "" {
		lang = "en"
		if strings.HasPrefix(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG")), "zh") {
			lang = "zh"
		}
	}
	switch lang {
	case "zh":
		return wordsZH(), nil
	case "en":
		return wordsEN(), nil
	}
	return nil, usageError("--lang must be zh or en")
}

// problemName is why a receipt is not valid, for programs.
func problemName(err error) string {
	for _, p := range []struct {
		err  error
		name string
	}{
		{receipt.ErrBody, "NO_RECEIPT"}, {receipt.ErrNoReceipt, "NO_RECEIPT"}, {receipt.ErrForm, "FORM"}, {receipt.ErrHeader, "HEADER"},
		{receipt.ErrKeyUnknown, "KEY_UNKNOWN"}, {receipt.ErrSignature, "SIGNATURE"}, {receipt.ErrVersion, "VERSION"}, {receipt.ErrContent, "CONTENT"},
	} {
		if errors.Is(err, p.err) {
			return p.name
		}
	}
	return "FORM"
}

func (w *words) problem(err error) string { return w.problems[problemName(err)] }

func wordsEN() *words {
	return &words{
		receipt: "receipt", valid: "valid: this hub signed it, and nothing was changed", invalid: "not valid: ",
		issuer: "signed by", order: "order", platform: "platform", number: "number", accounts: "accounts to detach",
		taken: "taken", due: "due", ended: "ended", result: "outcome", because: "because", says: "the platform says",
		late: "ended late", yes: "yes", appeals: "appeals before",
		outcome: map[string]string{
			"COMPLETED": "detached", "REFUSED": "refused by the platform", "ABANDONED": "given up: the platform gave no usable answer", "CANCELLED": "cancelled",
		},
		reason: map[string]string{
			"HAS_BALANCE": "money is left on the account", "HAS_DEBT": "the account owes money or has an open purchase", "ACCOUNT_FROZEN": "the account is frozen",
			"LEGAL_HOLD": "an authority ordered the account to be kept as it is", "IN_DISPUTE": "two parties claim the account", "SOLE_LOGIN": "the number is the only way to log in",
			"BOUND_AFTER_HOLDER": "the account was bound after the person got the number", "RECENTLY_ACTIVE": "the account was used lately with this number",
			"IDENTITY_MISMATCH": "the account belongs to somebody the platform can't match", "NEEDS_USER": "the platform needs the person to come in",
			"ENTERPRISE_ACCOUNT": "the account belongs to a company", "COOLING_OFF": "too soon after another change of the number",
			"POLICY": "another rule of the platform", "TECHNICAL": "a technical reason",
			"BY_PERSON": "the person took it back before it was sent", "HOLDER_CHANGED": "the number changed hands",
			"TOO_OLD": "no usable answer for too long", "ALREADY_EXISTS": "the platform says that the order's id is another order's",
		},
		problems: map[string]string{
			"NO_RECEIPT":  "there is no receipt in this file; save it from GET /v1/unbinds/{unbindId} once the order has ended",
			"FORM":        "this is no receipt, or only a part of one; save it again as a whole",
			"HEADER":      "it claims to be something else than a receipt of a hub; don't rely on it",
			"KEY_UNKNOWN": "nothing can be said: the key that it names is not among those given; get the hub's keys again and name their file with --jwks",
			"SIGNATURE":   "the signature does not fit; it was changed, or another hub signed it; don't rely on it",
			"VERSION":     "a hub signed it, but in a version that this program does not know; use a newer one",
			"CONTENT":     "a hub's key signed it, but its content is not a receipt's; don't rely on it, and tell the hub's operator",
		},
	}
}

func wordsZH() *words {
	return &words{
		receipt: "回执", valid: "有效：由下列枢纽签发，内容未被改动", invalid: "无效：",
		issuer: "签发方", order: "申请编号", platform: "平台", number: "手机号码", accounts: "申请解绑账号数",
		taken: "受理时间", due: "应办结时间", ended: "办结时间", result: "结果", because: "原因", says: "平台说明",
		late: "超期办结", yes: "是", appeals: "此前申诉次数",
		outcome: map[string]string{
			"COMPLETED": "已解绑", "REFUSED": "平台拒绝", "ABANDONED": "平台未给出有效答复，已停止发送", "CANCELLED": "已取消",
		},
		reason: map[string]string{
			"HAS_BALANCE": "账号内有余额", "HAS_DEBT": "账号有欠款或未完成的订单", "ACCOUNT_FROZEN": "账号已冻结", "LEGAL_HOLD": "有关机关要求保持账号现状",
			"IN_DISPUTE": "账号归属有争议", "SOLE_LOGIN": "该号码是唯一的登录方式", "BOUND_AFTER_HOLDER": "账号是在本人取得号码之后绑定的",
			"RECENTLY_ACTIVE": "账号近期用该号码登录过", "IDENTITY_MISMATCH": "平台无法核对账号所属人", "NEEDS_USER": "平台需要本人办理",
			"ENTERPRISE_ACCOUNT": "账号属于企业", "COOLING_OFF": "距上次变更号码时间过短", "POLICY": "平台的其他规定", "TECHNICAL": "技术原因",
			"BY_PERSON": "本人在发送前撤回", "HOLDER_CHANGED": "号码已更换机主", "TOO_OLD": "长时间没有有效答复", "ALREADY_EXISTS": "平台称该编号属于另一个申请",
		},
		problems: map[string]string{
			"NO_RECEIPT":  "文件中没有回执；请在申请办结后从 GET /v1/unbinds/{unbindId} 重新保存",
			"FORM":        "不是回执，或内容不完整；请重新完整保存",
			"HEADER":      "声称的类型或算法不是枢纽回执所用的，请勿采信",
			"KEY_UNKNOWN": "无法判断：给出的公钥中没有签名所用的密钥；请重新获取枢纽公钥并用 --jwks 指定",
			"SIGNATURE":   "签名不符：内容被改动过，或由其他枢纽签发，请勿采信",
			"VERSION":     "由枢纽签名，但本程序不认识这个版本，请使用新版程序",
			"CONTENT":     "由枢纽密钥签名，但内容不是回执，请勿采信，并告知枢纽运营者",
		},
	}
}
