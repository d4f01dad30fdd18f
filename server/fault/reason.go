package fault

// Reason is the machine-readable name of an error. It is itself an error, so
// that errors.Is(err, fault.PhoneInvalid) reads well.
type Reason string

// Error returns the name.
func (r Reason) Error() string { return string(r) }

// The reasons. docs/errors.md says what to do about each.
const (
	InternalError       Reason = "INTERNAL"
	StoreFailed         Reason = "STORE_FAILED"
	StorageFull         Reason = "STORAGE_FULL"
	RequestCanceled     Reason = "CANCELLED"
	DeadlineExceeded    Reason = "DEADLINE_EXCEEDED"
	MethodUnknown       Reason = "METHOD_UNKNOWN"
	PathUnknown         Reason = "PATH_UNKNOWN"
	MethodNotAllowed    Reason = "METHOD_NOT_ALLOWED"
	BodyInvalid         Reason = "BODY_INVALID"
	BodyTooLarge        Reason = "BODY_TOO_LARGE"
	BodyTimeout         Reason = "BODY_TIMEOUT"
	ContentTypeInvalid  Reason = "CONTENT_TYPE"
	QueryInvalid        Reason = "QUERY_INVALID"
	Overloaded          Reason = "OVERLOADED"
	ShuttingDown        Reason = "SHUTTING_DOWN"
	RoleDenied          Reason = "ROLE_DENIED"
	PhoneInvalid        Reason = "PHONE_INVALID"
	IDSuffixInvalid     Reason = "ID_SUFFIX_INVALID"
	DocumentTypeInvalid Reason = "DOCUMENT_TYPE_INVALID"
	ChannelUnsupported  Reason = "CHANNEL_UNSUPPORTED"
	ConsentRequired     Reason = "CONSENT_REQUIRED"
	CodeInvalid         Reason = "CODE_INVALID"
	CodeResendTooSoon   Reason = "CODE_RESEND_TOO_SOON"
	DailyLimit          Reason = "DAILY_LIMIT"
	SMSUnavailable      Reason = "SMS_UNAVAILABLE"
	VerificationFailed  Reason = "VERIFICATION_FAILED"
	CarrierUnavailable  Reason = "CARRIER_UNAVAILABLE"
	SessionInvalid      Reason = "SESSION_INVALID"
	LookupRate          Reason = "LOOKUP_RATE"
	LookupNotFound      Reason = "LOOKUP_NOT_FOUND"
	WaitInvalid         Reason = "WAIT_INVALID"
	PageTokenInvalid    Reason = "PAGE_TOKEN_INVALID"
	RequestIDInvalid    Reason = "REQUEST_ID_INVALID"
	RequestIDReused     Reason = "REQUEST_ID_REUSED"
	PlatformUnknown     Reason = "PLATFORM_UNKNOWN"
	PlatformsInvalid    Reason = "PLATFORMS_INVALID"
	NotLookedUp         Reason = "NOT_LOOKED_UP"
	NothingToUnbind     Reason = "NOTHING_TO_UNBIND"
	HolderUnattested    Reason = "HOLDER_UNATTESTED"
	UnbindUnsupported   Reason = "UNBIND_UNSUPPORTED"
	UnbindNotFound      Reason = "UNBIND_NOT_FOUND"
	AlreadyTerminal     Reason = "ALREADY_TERMINAL"
	AlreadySent         Reason = "ALREADY_SENT"
	NotRefused          Reason = "NOT_REFUSED"
	AppealLimit         Reason = "APPEAL_LIMIT"
	AppealTooLate       Reason = "APPEAL_TOO_LATE"
	NotAbandoned        Reason = "NOT_ABANDONED"
	ReportInvalid       Reason = "REPORT_INVALID"
	TimeInvalid         Reason = "TIME_INVALID"
	CheckRate           Reason = "CHECK_RATE"
	PlatformIDInvalid   Reason = "PLATFORM_ID_INVALID"
	AddressInvalid      Reason = "ADDRESS_INVALID"
	NameInvalid         Reason = "NAME_INVALID"
	CategoryInvalid     Reason = "CATEGORY_INVALID"
	PlatformExists      Reason = "PLATFORM_EXISTS"
	PlatformState       Reason = "PLATFORM_STATE"
	RoleInvalid         Reason = "ROLE_INVALID"
	StateInvalid        Reason = "STATE_INVALID"
	NoteInvalid         Reason = "NOTE_INVALID"
	SelectionInvalid    Reason = "SELECTION_INVALID"
	LeaseLost           Reason = "LEASE_LOST"
	DateInvalid         Reason = "DATE_INVALID"
	GroupInvalid        Reason = "GROUP_INVALID"
	CatalogueInvalid    Reason = "CATALOGUE_INVALID"
)

type row struct {
	class  Class
	zh, en string
}

// Class is the class of the reason; Internal for one that isn't listed.
func (r Reason) Class() Class { return table[r].class }

// Text is the public text in the language, "zh-CN" or "en" (the default).
func (r Reason) Text(lang string) string {
	t, ok := table[r]
	if !ok {
		t = table[InternalError]
	}
	if lang == "zh-CN" {
		return t.zh
	}
	return t.en
}

// Reasons returns every reason, in no order.
func Reasons() []Reason {
	out := make([]Reason, 0, len(table))
	for r := range table {
		out = append(out, r)
	}
	return out
}

// table is read only. Every text says what to do next and repeats nothing that
// was sent.
var table = map[Reason]row{
	InternalError:       {Internal, "系统出错了，请稍后再试。", "Something went wrong on our side. Please try again later."},
	StoreFailed:         {Unavailable, "暂时无法保存，请稍后再试；未收到编号的请求没有受理。", "Nothing can be saved right now. Please try again later; what was not answered with an id was not accepted."},
	StorageFull:         {Unavailable, "系统存储空间不足，暂不受理新的请求；已受理的会继续办理。请稍后再试。", "There is no room to store anything new right now. What was accepted before goes on. Please try again later."},
	RequestCanceled:     {Canceled, "请求已取消。", "The request was cancelled."},
	DeadlineExceeded:    {Timeout, "请求超时，请重试。", "The request took too long. Please try again."},
	MethodUnknown:       {Unimplemented, "没有这个方法，请对照接口文档。", "There is no such method. Please see the API description."},
	PathUnknown:         {NotFound, "请求的地址不存在，请对照 /openapi.json。", "There is nothing at this path. Please see /openapi.json."},
	MethodNotAllowed:    {Unimplemented, "此地址不支持该请求方法，请改用 Allow 中列出的方法。", "This path does not take that method. Use one that Allow lists."},
	BodyInvalid:         {Invalid, "请求内容不是有效的 JSON，或含有未知、重复、类型不符的字段，请对照 /openapi.json 修改。", "The body is not valid JSON, or has unknown, repeated or mistyped fields. Please see /openapi.json."},
	BodyTooLarge:        {Invalid, "请求内容过大，请缩小后重试。", "The request body is too large. Please send less."},
	BodyTimeout:         {Invalid, "请求内容发送过慢，请检查网络后重试。", "The request body came too slowly. Please check the connection and try again."},
	ContentTypeInvalid:  {Invalid, "请以 Content-Type: application/json 发送未压缩的内容。", "Please send the body uncompressed, as Content-Type: application/json."},
	QueryInvalid:        {Invalid, "地址中的参数无效，请对照 /openapi.json 修改。", "A parameter in the URL is not valid. Please see /openapi.json."},
	Overloaded:          {Exhausted, "当前使用人数较多，请稍后再试。", "The service is busy. Please try again in a moment."},
	ShuttingDown:        {Unavailable, "服务正在重启，请稍后再试。", "The service is restarting. Please try again in a moment."},
	RoleDenied:          {Denied, "当前身份不能使用此功能，请使用有相应权限的会话或证书。", "This caller may not use this method. Use a session or a certificate of the role it is for."},
	PhoneInvalid:        {Invalid, "请输入 11 位中国大陆手机号码（不支持物联网号码）。", "Please enter an 11-digit mainland China mobile number (IoT numbers are not supported)."},
	IDSuffixInvalid:     {Invalid, "请输入证件号码的后 6 位；18 位身份证的后 6 位为出生日 01–31、三位数字、末位数字或 X，例如 15002X。", "Please enter the last 6 characters of the document. Of an 18-digit ID they are the day of birth 01–31, three digits, and a digit or X, such as 15002X."},
	DocumentTypeInvalid: {Invalid, "不支持该证件类型，请在列出的类型中选择。", "This document type is not supported. Please choose one that is listed."},
	ChannelUnsupported:  {Invalid, "目前只支持短信验证码。", "Codes are sent by SMS only for now."},
	ConsentRequired:     {Precondition, "请先阅读并同意最新的授权说明，再继续操作。", "Please read and agree to the current consent text first."},
	CodeInvalid:         {Invalid, "请输入短信中的 6 位数字验证码。", "Please enter the 6 digits from the message."},
	CodeResendTooSoon:   {Exhausted, "验证码发送过于频繁，或尝试次数已用完，请按提示的时间稍后再获取。", "A code was sent a moment ago, or its tries are used up. Please wait as long as said before asking for another."},
	DailyLimit:          {Exhausted, "今天的次数已用完，请明天再试。", "The limit for today is used up. Please come back tomorrow."},
	SMSUnavailable:      {Unavailable, "短信暂时无法发送，请稍后再试。", "The message could not be sent. Please try again later."},
	VerificationFailed:  {Denied, "验证未通过，请核对验证码；如确认无误，请检查证件后 6 位并重新获取验证码。次数用完后请按提示的时间再获取。", "Verification failed. Check the code; if it is right, check the ID suffix and ask for a new code. Once no tries are left, wait as long as said first."},
	CarrierUnavailable:  {Unavailable, "暂时联系不上运营商，请稍后用同一验证码再试。", "The carrier can't be reached. Please try the same code again in a moment."},
	SessionInvalid:      {Unauthorized, "尚未验证或验证已失效，请验证手机号码。", "There is no valid session, or it has ended. Please verify the number."},
	LookupRate:          {Exhausted, "查询次数已达上限，请稍后再试。", "The lookup limit is reached. Please try again later."},
	LookupNotFound:      {NotFound, "没有找到这次查询，请重新查询。", "There is no such lookup. Please start a new one."},
	WaitInvalid:         {Invalid, "等待时间应在 0 到 30 秒之间，例如 10s。", "The wait must be between 0 and 30 seconds, such as 10s."},
	PageTokenInvalid:    {Invalid, "分页标记无效，请从第一页开始。", "The page token is not valid. Please begin with the first page."},
	RequestIDInvalid:    {Invalid, "requestId 应为 1 到 64 个字母、数字或 . _ : - 字符。", "requestId must be 1 to 64 letters, digits or . _ : - characters."},
	RequestIDReused:     {Conflict, "这个 requestId 已用于另一个请求，请换一个。", "This requestId was used for another request. Please use a new one."},
	PlatformUnknown:     {Invalid, "没有这个平台，请从 /v1/platforms 中选择。", "There is no such platform. Please choose from /v1/platforms."},
	PlatformsInvalid:    {Invalid, "请选择 1 到 512 个平台。", "Please choose between 1 and 512 platforms."},
	NotLookedUp:         {Precondition, "这个平台还没有查询结果，请重新查询后再解绑。", "This platform has not answered yet. Please look up again first."},
	NothingToUnbind:     {Precondition, "这个平台没有在您持有号码之前绑定的账号，无需解绑。", "No account there was bound before you held the number; there is nothing to unbind."},
	HolderUnattested:    {Precondition, "运营商未能确认您从何时起使用此号码，暂不能代为解绑，请到平台自行办理。", "No carrier confirmed since when you hold the number, so we can't unbind for you. Please use the platform's own page."},
	UnbindUnsupported:   {Precondition, "这个平台暂不支持代为解绑，请到平台自行办理。", "This platform does not take unbind orders. Please use its own page."},
	UnbindNotFound:      {NotFound, "没有找到这个解绑申请，请核对编号；只能查看本人的申请。", "There is no such unbind order. Please check the id; only orders of your own are shown."},
	AlreadyTerminal:     {Precondition, "这个解绑申请已经结束，不能再更改；如有需要，请重新查询并再次申请。", "This order has ended and can't be changed. If need be, look up again and make a new one."},
	AlreadySent:         {Precondition, "这个解绑申请已经或可能已经发给平台，不能撤回，请留意办理结果。", "This order has been sent to the platform, or may have been, and can't be taken back. Please follow it to its end."},
	NotRefused:          {Precondition, "平台没有拒绝这个解绑申请，现在不能申诉，请留意办理结果。", "The platform has not refused this order, so there is nothing to appeal. Please follow it to its end."},
	AppealLimit:         {Precondition, "这个解绑申请已申诉过两次，不能再申诉；可凭回执向 12300 或 12315 投诉。", "This order was appealed twice already. You can take its receipt to 12300 or 12315."},
	AppealTooLate:       {Precondition, "平台拒绝已超过 30 天，不能再申诉；请重新查询并提交解绑申请。", "The refusal is more than 30 days old. Please look the number up again and place a new order."},
	NotAbandoned:        {Precondition, "这个解绑申请不在死信中。", "This order is not a dead letter."},
	ReportInvalid:       {Invalid, "上报内容无效：拒绝须附原因，需用户操作须附 https 链接。", "The report is not valid: a refusal needs a reason, an action needs an https URL."},
	TimeInvalid:         {Invalid, "时间缺失或无效，不能晚于当前时间。", "The time is missing or not valid; it must not be in the future."},
	CheckRate:           {Exhausted, "核验次数过多，请稍后再试。", "Too many checks. Please wait."},
	PlatformIDInvalid:   {Invalid, "编号应为 2 到 64 个 a-z 0-9 . _ - 字符，并以字母或数字开头。", "An id is 2 to 64 characters of a-z 0-9 . _ -, beginning with a letter or digit."},
	AddressInvalid:      {Invalid, "地址应为“主机:端口”，例如 127.0.0.1:9443。", "An address is HOST:PORT, such as 127.0.0.1:9443."},
	NameInvalid:         {Invalid, "名称应为 1 到 64 个字符，且不以 = + - @ 开头。", "A name is 1 to 64 characters and does not begin with = + - or @."},
	CategoryInvalid:     {Invalid, "没有这个类别，请使用 39 类常见应用之一，例如 网上购物。", "There is no such category. Use one of the 39 app types, such as 网上购物."},
	PlatformExists:      {Conflict, "该编号的平台已经接入；如需更换地址，请先暂停该平台。", "A platform of that id has already joined. To give it another address, suspend it first."},
	PlatformState:       {Precondition, "平台目前的状态不允许此操作，请先用 platform show 查看。", "The platform's state does not allow this. See `platform show`."},
	RoleInvalid:         {Invalid, "角色应为 platform、carrier 或 regulator。", "The role must be platform, carrier or regulator."},
	NoteInvalid:         {Invalid, "说明最多 200 个字符，不能含控制字符或可能是号码的连续 7 位以上数字。", "A note is at most 200 characters, without control characters and without what may be a number, such as 7 digits in a row."},
	SelectionInvalid:    {Invalid, "死信的选择无效：请给出编号，或给出筛选条件，或明确选择全部，三者选一；时长和数量不能为负，速率应在每小时 1 条到每秒 1000 条之间。", "The selection of dead letters is not valid: give ids, or a filter, or all of them, one of the three; ages and limits are not negative, a rate is from 1 in an hour to 1000 in a second."},
	StateInvalid:        {Invalid, "没有这个状态，请使用 docs/states.md 中的名称。", "There is no such state. Use a name from docs/states.md."},
	LeaseLost:           {Internal, "系统出错了，请稍后再试。", "Something went wrong on our side. Please try again later."},
	DateInvalid:         {Invalid, "日期应写作 2026-10-01，起始日不晚于截止日，截止日不晚于今天，且只能查询最近 400 天。", "Dates are written as 2026-10-01; the first is not after the last, the last not after today, and both lie in the last 400 days."},
	GroupInvalid:        {Invalid, "groupBy 应为 PLATFORM、CATEGORY 或 DAY。", "groupBy is PLATFORM, CATEGORY or DAY."},
	CatalogueInvalid:    {Invalid, "名录文件格式有误，未作任何更改；请用 tongcha catalogue diff 查看逐行说明。", "The catalogue file is not valid; nothing was changed. `tongcha catalogue diff` explains it line by line."},
}
