module exercises

go 1.19
