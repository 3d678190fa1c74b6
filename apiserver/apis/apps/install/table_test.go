package install

import (
	"bytes"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// pieces notes the largest piece that was written.
type pieces struct {
	bytes.Buffer
	largest int
}

func (p *pieces) Write(data []byte) (int, error) {
	p.largest = max(p.largest, len(data))
	return p.Buffer.Write(data)
}

func TestALargeTableIsWrittenRowByRowAndTheSame(t *testing.T) {
	codecs := NewCodecs(NewServerScheme())
	ours, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	if !ok {
		t.Fatal("there is no JSON")
	}
	stock, _ := runtime.SerializerInfoForMediaType(codecs.CodecFactory.SupportedMediaTypes(), runtime.ContentTypeJSON)
	for _, rows := range []int{0, 1, fewRows, fewRows + 1, 5000} {
		table := &metav1.Table{
			TypeMeta:          metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"},
			ListMeta:          metav1.ListMeta{ResourceVersion: "7", Continue: "<next>"},
			ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Type: "string"}},
		}
		for n := range rows {
			app := &v1alpha1.HTTPApp{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%d", n), Annotations: map[string]string{"html": "<&>"}}}
			table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{app.Name, n, nil}, Object: runtime.RawExtension{Object: app}})
		}
		var got, want pieces
		if err := ours.Serializer.Encode(table, &got); err != nil {
			t.Fatal(err)
		}
		if err := stock.Serializer.Encode(table, &want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("a table of %d rows:\n%s\nand of the stock serializer\n%s", rows, got.String(), want.String())
		}
		if rows > fewRows && got.largest > 64<<10 {
			t.Errorf("of %d rows, %d bytes were written at once", rows, got.largest)
		}
	}
}
