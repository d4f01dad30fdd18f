package platform

import "slices"

// Categories lists the 39 app types of the 2021 rule on the necessary personal
// information of common mobile apps (常见类型移动互联网应用程序必要个人信息范围规定).
func Categories() []string {
	return []string{
		"地图导航", "网络约车", "即时通信", "网络社区", "网络支付", "网上购物", "餐饮外卖", "邮件快件寄递", "交通票务", "婚恋相亲",
		"求职招聘", "网络借贷", "房屋租售", "二手车交易", "问诊挂号", "旅游服务", "酒店服务", "网络游戏", "学习教育", "本地生活",
		"女性健康", "用车服务", "投资理财", "手机银行", "邮箱云盘", "远程会议", "网络直播", "在线影音", "短视频", "新闻资讯",
		"运动健身", "浏览器", "输入法", "安全管理", "电子图书", "拍摄美化", "应用商店", "实用工具", "演出票务",
	}
}

// IsCategory reports whether s is one of Categories.
func IsCategory(s string) bool { return slices.Contains(Categories(), s) }
