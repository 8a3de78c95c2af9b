"""The HTML pages, and the description of the interface in OpenAPI's format."""

import html
import json

# Pages run only their own script, and no other site may frame them.
HEADERS = {
  "content-security-policy": (
    "default-src 'none'; style-src 'unsafe-inline'; script-src"
    " 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'"
  )
}
# Most tasks that the page lists; any name can be typed.
_SHOWN = 1000
_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 46em; margin: 2em auto; }
label { display: block; margin-top: 1em; }
textarea, input { width: 100%; font: inherit; box-sizing: border-box; }
pre { background: #eee; padding: 1em; white-space: pre-wrap; }
td, th { text-align: left; padding: .2em 1em .2em 0; vertical-align: top; }
"""
_SCRIPT = """
const form = document.querySelector("form");
const out = document.querySelector("pre");
form.addEventListener("submit", async event => {
  event.preventDefault();
  out.textContent = "...";
  const headers = {"content-type": "application/json"};
  if (form.key.value) headers.authorization = "Bearer " + form.key.value;
  const body = {task: form.task.value, text: form.text.value};
  try {
    const answer = await fetch("v1/predict", {
      method: "POST", headers, body: JSON.stringify(body)});
    const value = await answer.json();
    out.textContent = JSON.stringify(
      value.results ? value.results[0] : value.error.message, null, 2);
  } catch (error) { out.textContent = String(error); }
});
"""


def page(names) -> str:
  """Returns the page on which a person types a text and picks a task."""
  options = "".join(
    f'<option value="{html.escape(name)}">' for name in names[:_SHOWN]
  )
  return _page(
    "mpt serve",
    f"""
<p>{len(names)} tasks on one T5. <a href="docs">The interface</a></p>
<form>
<label>Task <input name="task" list="tasks" required autocomplete="off">
</label><datalist id="tasks">{options}</datalist>
<label>Text <textarea name="text" rows="5" required></textarea></label>
<label>API key, if there is one
<input name="key" type="password" autocomplete="off"></label>
<p><button>Predict</button></p>
</form>
<pre></pre>
<script>{_SCRIPT}</script>
""",
  )


def docs() -> str:
  """Returns the description of the interface as a page."""
  rows = "".join(
    f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
    f"<td>{html.escape(operation['summary'])}</td></tr>"
    for path, operations in OPENAPI["paths"].items()
    for method, operation in operations.items()
  )
  schemas = html.escape(json.dumps(OPENAPI["components"]["schemas"], indent=2))
  return _page(
    "mpt serve: the interface",
    f"<p>For programs: <a href='openapi.json'>openapi.json</a></p>"
    f"<table>{rows}</table><h2>Bodies</h2><pre>{schemas}</pre>",
  )


def _page(title, body):
  return (
    f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    f"<style>{_STYLE}</style><h1>{title}</h1>{body}</html>"
  )


def _operation(summary, body=None, answer=None, kinds=("application/json",)):
  made = {
    "summary": summary,
    "responses": {
      "200": {"description": "The answer."},
      "default": {
        "description": "An error.",
        "content": {"application/json": {"schema": _ref("Error")}},
      },
    },
  }
  if answer:
    content = {"application/json": {"schema": _ref(answer)}}
    made["responses"]["200"]["content"] = content
  if body:
    made["requestBody"] = {
      "required": True,
      "content": {kind: {"schema": _ref(body)} for kind in kinds},
    }
  return made


def _ref(name):
  return {"$ref": f"#/components/schemas/{name}"}


def _object(required=(), **properties):
  return {
    "type": "object",
    "required": list(required),
    "properties": properties,
  }


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ROWS = {"type": "array", "items": {"type": "object"}}
_GENERATION = {
  "max_tokens": {"type": "integer", "minimum": 1},
  "temperature": {"type": "number", "minimum": 0, "default": 0},
  "seed": {"type": "integer", "default": 0},
  "stream": {"type": "boolean", "default": False},
  "timeout": {"type": "number", "description": "seconds"},
}
_UPLOADS = ("application/json", "application/octet-stream", "application/zip")

OPENAPI = {
  "openapi": "3.1.0",
  "info": {"title": "mpt serve", "version": "1"},
  "components": {
    "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    "schemas": {
      "Predict": _object(
        task={**_TEXT, "description": "the task of rows that name none"},
        text={"oneOf": [_TEXT, _TEXTS]},
        rows={
          **_ROWS,
          "description": "in place of text: lines as those of mpt predict",
        },
        **_GENERATION,
      ),
      "Predictions": _object(("results",), results=_ROWS),
      "Completion": _object(
        ("model", "prompt"),
        model={**_TEXT, "description": "the name of a task"},
        prompt={"oneOf": [_TEXT, _TEXTS]},
        **_GENERATION,
      ),
      "AddTask": _object(
        ("path",),
        path={**_TEXT, "description": "within the server's folder of tasks"},
        name=_TEXT,
        names=_TEXTS,
        label_names=_TEXTS,
        template=_TEXT,
      ),
      "Error": _object(
        ("error",),
        error=_object(
          ("message", "type"), message=_TEXT, type=_TEXT, code=_TEXT
        ),
      ),
    },
  },
  "security": [{"key": []}],
  "paths": {
    "/v1/predict": {
      "post": _operation(
        "Predicts for one text, or for many of any tasks.",
        "Predict",
        "Predictions",
      )
    },
    "/v1/completions": {
      "post": _operation(
        "OpenAI's completions; the model is a task.", "Completion"
      )
    },
    "/v1/models": {"get": _operation("Lists the tasks as OpenAI does.")},
    "/v1/models/{name}": {"get": _operation("Describes a task likewise.")},
    "/v1/tasks": {
      "get": _operation("Lists the tasks, their labels and templates."),
      "post": _operation(
        "Adds tasks: a path, a prompt file, or PEFT's folder as a zip.",
        "AddTask",
        kinds=_UPLOADS,
      ),
    },
    "/v1/tasks/{name}": {
      "get": _operation("Describes a task."),
      "put": _operation("Adds or replaces a task.", "AddTask", kinds=_UPLOADS),
      "delete": _operation("Removes a task."),
    },
    "/healthz": {"get": _operation("Whether the process should live on.")},
    "/readyz": {"get": _operation("Whether requests should come here.")},
    "/metrics": {"get": _operation("Counts for Prometheus.")},
  },
}
