# SPDX-License-Identifier: MIT
(map(.value | tostring | length) | add),
([.[].value | .. | numbers] | add),
(group_by(.name) | map({name: .[0].name, count: length, ids: map(.id) | length})),
(map(select(.value | type == "object") | .value | keys | join("+")) | unique | length)
