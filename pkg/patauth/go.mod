module github.com/pat-operator/pat-operator/pkg/patauth

go 1.25.0
