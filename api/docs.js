// Sends what stands in a form of the documentation to this service, and shows what comes back.
for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let path = form.dataset.path;
    for (const field of form.querySelectorAll("input[data-parameter]")) {
      path = path.replace(`{${field.dataset.parameter}}`, encodeURIComponent(field.value));
    }
    const headers = {};
    for (const field of form.querySelectorAll("input[data-header]")) {
      if (field.value) headers[field.dataset.header] = field.value;
    }
    const body = form.querySelector("textarea");
    if (body) headers["Content-Type"] = "application/json";
    const shown = form.querySelector("output");
    shown.textContent = "…";
    try {
      const began = performance.now();
      const reply = await fetch(path, { method: form.dataset.method, headers, body: body?.value });
      const took = (performance.now() - began).toFixed(1);
      let text = await reply.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      shown.textContent = `${reply.status} ${reply.statusText}, ${took} ms\n\n${text}`;
    } catch (error) {
      shown.textContent = `no answer: ${error.message}`;
    }
  });
}
