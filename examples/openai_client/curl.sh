#!/usr/bin/env bash
# Every kind of request with curl: bash curl.sh [http://127.0.0.1:8642/v1 [KEY]]
set -euo pipefail
url=${1:-http://127.0.0.1:8642/v1}
key=${2:-none}

ask() {
  local path=$1
  shift
  printf '\n== %s\n' "$path"
  curl --fail-with-body --silent --show-error --no-buffer "$url$path" \
    -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "$@"
  echo
}

ask /models

ask /embeddings -d '{
  "model": "all-minilm-l6-v2", "input": "The tide is rising.", "encoding_format": "base64"
}'

ask /chat/completions -d '{
  "model": "smollm2-135m-instruct", "max_completion_tokens": 8,
  "messages": [{"role": "user", "content": "Name a colour."}]
}'

# As it is written; usage comes with the last piece but [DONE].
ask /chat/completions -d '{
  "model": "smollm2-135m-instruct", "max_completion_tokens": 4, "stream": true,
  "stream_options": {"include_usage": true},
  "messages": [{"role": "user", "content": "Name a colour."}]
}'

ask /completions -d '{"model": "smollm2-135m-instruct", "prompt": "Once upon", "max_tokens": 4}'

# Answers from the indexed documents, and shows what was found.
store=$(curl --fail-with-body --silent --show-error "$url/vector_stores" \
  -H "Authorization: Bearer $key" | sed 's/.*"data":\[{"id":"\([^"]*\)".*/\1/')
ask "/vector_stores/$store/search" -d '{"query": "What makes the sea rise?", "max_num_results": 1}'
ask /responses -d '{
  "model": "smollm2-135m-instruct", "input": "What makes the sea rise?", "max_output_tokens": 16,
  "tools": [{"type": "file_search", "vector_store_ids": ["'"$store"'"]}],
  "include": ["file_search_call.results"]
}'
