module github.com/kedahttp/kedahttp/hack/cluster/components/pause

go 1.26.0
