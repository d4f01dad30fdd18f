package phone

import "testing"

func TestParsePlan(t *testing.T) {
	p, err := parsePlan("# head\n\n134 mobile # tail\n13490-13492 telecom extra words\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(p) != 4 || p["134"] != "mobile" || p["13490"] != "telecom" || p["13492"] != "telecom" {
		t.Errorf("plan %v", p)
	}
	for _, bad := range []string{"134", "134-13 mobile", "139-134 mobile", "134-1349 mobile", "abc mobile", "134-x mobile", "- mobile"} {
		if p, err := parsePlan(bad); err == nil {
			t.Errorf("%q is taken: %v", bad, p)
		}
	}
}

// TestPlanFile: every prefix of the file is of a length that is looked up, and
// of a kind that the file names.
func TestPlanFile(t *testing.T) {
	p, err := parsePlan(planText)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[Carrier]bool{"mobile": true, "unicom": true, "telecom": true, "broadnet": true, "virtual": true, carrierIoT: true, carrierSatellite: true, "reserved": true}
	for prefix, c := range p {
		if len(prefix) < 3 || len(prefix) > 7 || prefix[0] != '1' || prefix[1] < '3' || !kinds[c] {
			t.Errorf("prefix %s is of %q", prefix, c)
		}
	}
	if len(p) < 50 {
		t.Errorf("the plan has %d prefixes", len(p))
	}
}
