/*
Copyright 2026 The pat-operator Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package browser

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
)

var pictures = flag.String("screenshots", "", "folder to write the pictures of the documentation into; none are made without it")

// maxPicture is in bytes.
const maxPicture = 64_000

// samples are tokens in the states that the table tells apart, the newest last.
var samples = []struct {
	name, title string
	days        int32         // or
	life        time.Duration // until expiresAt
	suspend     bool
	state       string
}{
	{name: "trial", title: "Trial of the import", life: 10 * time.Second, state: "Expired"},
	{name: "newsletter-import", title: "Newsletter import", days: 180, suspend: true, state: "Suspended"},
	{name: "conference-demo", title: "Conference demo", days: 2, state: "Expiring soon"},
	{name: "monthly-report", title: "Monthly report", days: 365, state: "Active"},
	{name: "comparison-list-api", title: "PoliteMail Comparison List API", days: 90, state: "Active"},
}

// The pictures of the documentation: make screenshots.
func TestScreenshots(t *testing.T) {
	if *pictures == "" {
		t.Skip("make screenshots makes them")
	}
	makeSamples(t, team(t))
	b := newTab(t)
	b.do(chromedp.EmulateViewport(1000, 520, chromedp.EmulateScale(2)))
	b.signIn("alice")
	for _, s := range samples {
		eventually(t, s.title+" is "+s.state, func() bool {
			b.open("/")
			return eval[bool](b, `[...document.querySelectorAll("#table tbody tr")].some((row) =>
				row.innerText.includes(`+quote(s.title)+`) && row.innerText.includes(`+quote(s.state)+`))`)
		})
	}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.picture("console-" + scheme)
	}
	b.scheme("light")
	b.click("a.new")
	b.fill("#f-name", "Quarterly export")
	b.picture("console-create")
}

// makeSamples makes alice's tokens, and lets alice list in the whole cluster: no namespace is to be chosen then.
func makeSamples(t *testing.T, namespace string) {
	t.Helper()
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-personalaccesstoken-view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	})
	alice := env.Must[env.User](t)(product.User("alice"))
	for _, s := range samples {
		pat := &v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.name},
			Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: s.title, Suspend: s.suspend},
		}
		if s.days > 0 {
			pat.Spec.ExpiresInDays = ptr.To(s.days)
		} else {
			pat.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(s.life)}
		}
		if err := alice.Create(t.Context(), pat); err != nil {
			t.Fatal(err)
		}
	}
}

// picture writes what the tab shows when it has come to rest, without a caret, which may be on or off.
func (b *tab) picture(name string) {
	b.Helper()
	eval[bool](b, `(async () => {
		document.activeElement.style.caretColor = "transparent";
		await Promise.all(document.getAnimations().map((a) => a.finished));
		return true;
	})()`)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	data, err := paletted(shot)
	if err != nil {
		b.Fatal(err)
	}
	if len(data) > maxPicture {
		b.Errorf("%s has %d bytes: at most %d are wanted in the repository", name, len(data), maxPicture)
	}
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.Logf("%s: %d bytes", name, len(data))
}

// colours is how many colours a picture has at most. surfaces of them are those of areas, which stay exact; the colours
// between them, as at the edges of letters, are merged with similar ones.
const surfaces, colours = 48, 96

// paletted is a PNG with few colours.
func paletted(shot []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	bounds := from.Bounds()
	seen := map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			seen[from.At(x, y)]++
		}
	}
	mostFirst := slices.SortedFunc(maps.Keys(seen), func(a, b color.Color) int {
		return cmp.Or(seen[b]-seen[a], cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	var palette color.Palette
	for apart := 0.; ; apart++ {
		palette = nil
		for _, c := range mostFirst {
			if len(palette) < surfaces || distance(c, palette.Convert(c)) > apart {
				palette = append(palette, c)
			}
			if len(palette) > colours {
				break
			}
		}
		if len(palette) <= colours {
			break
		}
	}
	to, nearest := image.NewPaletted(bounds, palette), map[color.Color]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := from.At(x, y)
			index, known := nearest[c]
			if !known {
				index = uint8(palette.Index(c)) // #nosec G115 -- there are few
				nearest[c] = index
			}
			to.SetColorIndex(x, y, index)
		}
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}

// distance of two colours is 255 between black and one of red, green and blue.
func distance(a, b color.Color) float64 {
	r, g, bl, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	return math.Hypot(math.Hypot(float64(r)-float64(r2), float64(g)-float64(g2)), float64(bl)-float64(b2)) / 257
}
