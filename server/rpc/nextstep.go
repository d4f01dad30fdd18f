package rpc

import (
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/unbind"
)

// bilingual is a text for people. It repeats nothing that was sent.
type bilingual struct{ zh, en string }

func (b bilingual) in(lang string) string {
	if lang == "zh-CN" {
		return b.zh
	}
	return b.en
}

// What a person can do about an order. The account is usually somebody else's, so
// no step asks to settle anything in it.
var (
	stepFormerHolder = bilingual{
		"该账号属于原号主，暂时无法解绑。您不必处理账号内的资金或纠纷；请联系平台客服说明号码已更换机主，要求停止向此号码发送信息。",
		"The account belongs to the number's former holder and can't be detached yet. You need not settle anything in it; tell the platform's customer service that the number has a new holder, and ask them to send nothing more to it.",
	}
	stepInPerson = bilingual{
		"平台需要人工核实，请携带入网证明联系平台客服，说明号码已更换机主。",
		"The platform wants to check by hand. Contact its customer service with your carrier's proof of registration and say that the number has a new holder.",
	}
	stepNotMine = bilingual{
		"平台记录显示该账号在您使用号码期间有绑定或登录。如果不是您本人操作，请联系平台客服核实。",
		"The platform's records show that the account was bound or used while you held the number. If that was not you, ask the platform's customer service to look into it.",
	}
	stepLater = bilingual{
		"该号码近期刚变更过绑定，请过几天再申诉或重新提交。",
		"The number's bindings were changed a short while ago. Appeal, or order again, in a few days.",
	}
	stepCompany = bilingual{
		"这是企业账号，请联系平台的企业客服办理。",
		"This is a company's account. Please turn to the platform's service for companies.",
	}
	stepAsk = bilingual{
		"请联系平台客服了解原因。",
		"Ask the platform's customer service for the reason.",
	}
	stepAppeal = bilingual{
		"如不认可，可在被拒之日起 30 天内申诉，由平台重新处理；仍未解决的，可凭回执向 12315（消费者投诉）或 12300（电信用户申诉）投诉。",
		"If you disagree, appeal within 30 days of the refusal and the platform decides anew; if that does not help, complain with the receipt at 12315 (consumers) or 12300 (telecom).",
	}
	stepComplain = bilingual{
		"如不认可，可凭回执向 12315（消费者投诉）或 12300（电信用户申诉）投诉。",
		"If you disagree, complain with the receipt at 12315 (consumers) or 12300 (telecom).",
	}
	stepAbandoned = bilingual{
		"平台一直没有给出有效答复，我们已停止发送。您可以重新查询后再次申请解绑，也可以凭回执联系平台客服，或向 12315（消费者投诉）、12300（电信用户申诉）投诉。",
		"The platform never gave a usable answer, and we have stopped sending the order. Look up again and make a new order, show the receipt to the platform's customer service, or complain at 12315 (consumers) or 12300 (telecom).",
	}
	stepTakenBack = bilingual{
		"您已撤回这个申请，申请尚未发给平台。如有需要，请重新查询并再次申请。",
		"You took this order back; it was not sent to the platform. If you need it again, look up and make a new one.",
	}
	stepHolderChanged = bilingual{
		"运营商告知号码已更换机主，申请已停止。如果号码仍由您使用，请先向运营商核实登记信息，再重新验证号码。",
		"The carrier says that the number has changed hands, so the order was stopped. If you still hold the number, have the carrier check its records, then verify the number again.",
	}
	stepAction = bilingual{
		"平台需要您本人继续办理，请打开平台提供的办理页面；办完后这里会自动更新。",
		"The platform needs you to go on yourself: open the page that it gave. The order is updated here once that is done.",
	}
	stepOverdue = bilingual{
		"已超过应办结时间，我们仍在继续联系平台。您也可以联系平台客服，或向 12315（消费者投诉）、12300（电信用户申诉）反映。",
		"The order is past its due time, and we go on asking the platform. You can also turn to its customer service, or to 12315 (consumers) or 12300 (telecom).",
	}
)

// refusalStep is what to do about a refusal with that reason.
func refusalStep(reason string) bilingual {
	switch reason {
	case "HAS_BALANCE", "HAS_DEBT", "ACCOUNT_FROZEN", "LEGAL_HOLD", "IN_DISPUTE":
		return stepFormerHolder
	case "SOLE_LOGIN", "NEEDS_USER", "IDENTITY_MISMATCH":
		return stepInPerson
	case "BOUND_AFTER_HOLDER", "RECENTLY_ACTIVE":
		return stepNotMine
	case "COOLING_OFF":
		return stepLater
	case "ENTERPRISE_ACCOUNT":
		return stepCompany
	}
	return stepAsk
}

// nextStep is what the person can do about an order now; "" where there is
// nothing but to wait, or to be glad.
func nextStep(o unbind.Order, now time.Time, lang string) string {
	switch {
	case o.State == unbind.Refused:
		step, then := refusalStep(o.RefusalReason).in(lang), stepComplain
		if o.MayAppeal(now) == nil {
			then = stepAppeal
		}
		if lang != "zh-CN" {
			step += " "
		}
		return step + then.in(lang)
	case o.State == unbind.Abandoned:
		return stepAbandoned.in(lang)
	case o.State == unbind.Cancelled && cause(o) == "BY_PERSON":
		return stepTakenBack.in(lang)
	case o.State == unbind.Cancelled:
		return stepHolderChanged.in(lang)
	case o.State == unbind.ActionRequired:
		return stepAction.in(lang)
	case o.Overdue(now):
		return stepOverdue.in(lang)
	}
	return ""
}

// cause is why the order came into its state, in one word. Later steps may have
// left it there, such as an operator's.
func cause(o unbind.Order) string {
	reason := ""
	for _, s := range slices.Backward(o.History) {
		if s.State != o.State {
			break
		}
		reason = s.Reason
	}
	return reason
}
