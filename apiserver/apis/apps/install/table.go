package install

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// fewRows is how many rows of a table are written at once.
const fewRows = 50

// tableSerializer writes tables row by row, as the stock one writes lists object by object: the buffer for all rows of a large
// table would be kept for all that is written later, however small.
type tableSerializer struct{ runtime.Serializer }

// Encode implements runtime.Encoder.
func (s tableSerializer) Encode(obj runtime.Object, w io.Writer) error {
	table, ok := obj.(*metav1.Table)
	if !ok || len(table.Rows) <= fewRows {
		return s.Serializer.Encode(obj, w)
	}
	empty := *table
	empty.Rows = []metav1.TableRow{}
	frame, err := json.Marshal(&empty)
	if err != nil {
		return err
	}
	head, ok := bytes.CutSuffix(frame, []byte("]}"))
	if !ok || !bytes.HasSuffix(head, []byte(`"rows":[`)) {
		return s.Serializer.Encode(obj, w)
	}
	out := bufio.NewWriter(w)
	_, _ = out.Write(head) // a failure stays, and Flush returns it
	for i := range table.Rows {
		row, err := json.Marshal(&table.Rows[i])
		if err != nil {
			return err
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.Write(row)
	}
	_, _ = out.WriteString("]}\n")
	return out.Flush()
}
