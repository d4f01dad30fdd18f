// Package gen holds what is generated from proto/; only this file is written by
// hand, to carry the OpenAPI document into the binary.
package gen

import _ "embed"

// OpenAPI is the OpenAPI 2.0 document of the REST surface.
//
//go:embed openapi/tongcha.swagger.json
var OpenAPI []byte
