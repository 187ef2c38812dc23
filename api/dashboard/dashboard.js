// The dashboard's live part: tiles and charts from the pulse, keys, and the button that reproduces a decision.
"use strict";
const KEPT = 1800;
const samples = [];
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const shown = (value, unit = "") =>
  value === null || value === undefined ? "–" : (Number.isInteger(value) ? value.toLocaleString("en") : number.format(value)) + unit;

// ---- Figures

const rate = (count) => {
  const newest = samples.at(-1);
  const from = samples.findLast((one) => one.ready && newest.at_ms - one.at_ms >= 4500) ?? samples.find((one) => one.ready);
  if (!newest?.ready || !from || from === newest) return null;
  return Math.max(0, ((count(newest) - count(from)) * 1000) / (newest.at_ms - from.at_ms));
};

function verdict(one) {
  const { live, champion } = one.arms;
  if (!live?.n || !champion?.n) return ["no data yet", ""];
  if (live.low > champion.high) return ["yes", "good"];
  if (live.high < champion.low) return ["no: it hurts", "bad"];
  return ["undecided", ""];
}

function fill(name, text, kind = "") {
  const place = document.querySelector(`[data-live="${name}"]`);
  if (!place) return;
  place.textContent = text;
  place.className = kind;
}

function tell(one) {
  const pulse = document.getElementById("pulse");
  if (!one.ready) {
    pulse.textContent = "the learner has not published yet";
    return;
  }
  const state = one.log ? `position ${shown(one.position)}` : "the log is away: decisions go on, feedback is refused";
  if (pulse.dataset.said !== (one.log ? "up" : "down")) pulse.className = one.log ? "" : "bad";
  pulse.dataset.said = one.log ? "up" : "down";
  // A screen reader is told of changes of state, not of every second.
  pulse.setAttribute("aria-live", one.log ? "off" : "polite");
  pulse.textContent = state;
  fill("verdict", ...verdict(one));
  fill("learning", one.learning, one.learning === "on" ? "good" : "bad");
  fill("events_per_s", shown(rate((at) => at.events.received)));
  fill("decisions_per_s", shown(rate((at) => at.decisions)));
  fill("freshness", `${shown(one.freshness_ms.p50)} / ${shown(one.freshness_ms.p99, " ms")}`);
  fill("lag", shown(one.lag), one.lag > 10000 ? "bad" : "");
  fill("loss", shown(one.loss));
  fill("drift_alarms", shown(one.drift_alarms));
  balance(one);
}

function balance(one) {
  const row = document.querySelector('a[href^="/dashboard/tables/accounting"]')?.closest("table").tBodies[0].rows[0];
  if (!row || row.cells.length < 6) return;
  const counts = ["received", "applied", "duplicate", "late", "rejected"].map((name) => one.events[name]);
  counts.forEach((count, at) => { row.cells[at].textContent = count.toLocaleString("en"); });
  const rest = counts[1] + counts[2] + counts[3] + counts[4];
  row.cells[5].textContent = rest === counts[0] ? "all of them" : `✕ ${rest.toLocaleString("en")}`;
  row.cells[5].className = rest === counts[0] ? "good" : "bad";
}

// ---- Charts: hand-drawn SVG, no library; lines with gaps, bands, a cursor for pointer and keys

const per_s = (count) => (one, at, all) => {
  const before = all[Math.max(0, at - 5)];
  return at && one.ready && before.ready ? Math.max(0, ((count(one) - count(before)) * 1000) / (one.at_ms - before.at_ms)) : null;
};
const CHARTS = {
  reward: [
    { name: "live", kind: "a", of: (one) => one.arms?.live?.mean, low: (one) => one.arms?.live?.low, high: (one) => one.arms?.live?.high },
    { name: "champion", kind: "b", of: (one) => one.arms?.champion?.mean, low: (one) => one.arms?.champion?.low, high: (one) => one.arms?.champion?.high },
  ],
  loss: [{ name: "loss", kind: "a", of: (one) => one.loss }],
  rate: [
    { name: "events/s", kind: "a", of: per_s((one) => one.events.received) },
    { name: "decisions/s", kind: "b", of: per_s((one) => one.decisions) },
  ],
  freshness: [
    { name: "p50", kind: "a", of: (one) => one.freshness_ms?.p50 },
    { name: "p99", kind: "b", of: (one) => one.freshness_ms?.p99 },
  ],
  lag: [{ name: "records", kind: "a", of: (one) => one.lag }],
};
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 480, HEIGHT = 180, LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 20;

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function draw(figure) {
  const lines = CHARTS[figure.dataset.chart];
  const values = lines.map((line) => samples.map((one, at) => line.of(one, at, samples) ?? null));
  const lows = lines.map((line) => (line.low ? samples.map((one) => line.low(one) ?? null) : null));
  const highs = lines.map((line) => (line.high ? samples.map((one) => line.high(one) ?? null) : null));
  const all = [...values, ...lows, ...highs].filter(Boolean).flat().filter((value) => value !== null);
  const plot = figure.querySelector(".plot");
  if (!all.length || samples.length < 2) {
    plot.textContent = "nothing to draw yet";
    return;
  }
  let bottom = Math.min(...all), top = Math.max(...all);
  if (bottom > 0 && bottom < top / 2) bottom = 0;
  if (top === bottom) { top += Math.abs(top) * 0.1 || 1; bottom -= Math.abs(bottom) * 0.1; }
  const first = samples[0].at_ms, last = samples.at(-1).at_ms;
  const x = (at) => LEFT + ((samples[at].at_ms - first) / Math.max(1, last - first)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
  for (const share of [0, 0.5, 1]) {
    const value = bottom + share * (top - bottom);
    svg.append(element("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(element("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, number.format(value)));
  }
  const clock = (at_ms) => new Date(at_ms).toLocaleTimeString("en-GB");
  svg.append(element("text", { x: LEFT, y: HEIGHT - 4 }, clock(first)));
  svg.append(element("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, clock(last)));
  lines.forEach((line, number_) => {
    if (lows[number_]) {
      const there = samples.map((_, at) => at).filter((at) => lows[number_][at] !== null);
      const up = there.map((at) => `${x(at)},${y(highs[number_][at])}`);
      const down = there.reverse().map((at) => `${x(at)},${y(lows[number_][at])}`);
      if (there.length) svg.append(element("path", { class: `band ${line.kind}`, d: `M${[...up, ...down].join("L")}Z` }));
    }
    let d = "", pen = false;
    values[number_].forEach((value, at) => {
      if (value === null) { pen = false; return; }
      d += `${pen ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`;
      pen = true;
    });
    svg.append(element("path", { class: line.kind, d }));
  });
  const cursor = figure.dataset.cursor === undefined ? samples.length - 1 : Math.min(+figure.dataset.cursor, samples.length - 1);
  if (figure.dataset.cursor !== undefined) {
    svg.append(element("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  figure.querySelector(".reading").textContent =
    `${clock(samples[cursor].at_ms)}  ` + lines.map((line, at) => `${line.name} ${shown(values[at][cursor])}`).join("   ");
  plot.replaceChildren(svg);
}

function draw_all() {
  document.querySelectorAll("[data-chart]").forEach(draw);
}

function point(figure, at) {
  if (at === null) delete figure.dataset.cursor;
  else figure.dataset.cursor = Math.max(0, Math.min(samples.length - 1, at));
  draw(figure);
}

for (const figure of document.querySelectorAll("[data-chart]")) {
  figure.querySelector(".reading").setAttribute("aria-live", "off");
  figure.addEventListener("keydown", (event) => {
    const here = figure.dataset.cursor === undefined ? samples.length - 1 : +figure.dataset.cursor;
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, PageUp: here - 60, PageDown: here + 60, Home: 0, End: samples.length - 1 }[event.key];
    if (event.key === "Escape") point(figure, null);
    if (to === undefined) return;
    event.preventDefault();
    figure.querySelector(".reading").setAttribute("aria-live", "polite");
    point(figure, to);
  });
  figure.addEventListener("blur", () => { figure.querySelector(".reading").setAttribute("aria-live", "off"); point(figure, null); });
  figure.querySelector(".plot").addEventListener("pointermove", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    point(figure, Math.round(share * (samples.length - 1)));
  });
  figure.querySelector(".plot").addEventListener("pointerleave", () => point(figure, null));
}

// ---- The pulse

function take(one) {
  if (samples.length && one.at_ms <= samples.at(-1).at_ms) return;
  samples.push(one);
  if (samples.length > KEPT) samples.shift();
}

async function listen() {
  try {
    const reply = await fetch("/dashboard/pulse.json");
    if (reply.ok) (await reply.json()).forEach(take);
  } catch { /* the stream below says so */ }
  if (samples.length) { tell(samples.at(-1)); draw_all(); }
  const stream = new EventSource("/dashboard/stream");
  addEventListener("pagehide", () => stream.close());
  stream.onmessage = (event) => {
    take(JSON.parse(event.data));
    tell(samples.at(-1));
    if (!document.hidden) draw_all();
  };
  stream.onerror = () => {
    const pulse = document.getElementById("pulse");
    pulse.textContent = "no answer from the service; trying again";
    pulse.className = "bad";
    pulse.dataset.said = "gone";
  };
}

// ---- Keys: 1 to 6 choose a view, / goes to the search field

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") {
    const field = document.querySelector("input[type=search]");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  } else if (/^[1-9]$/.test(event.key)) {
    document.querySelectorAll("nav a")[+event.key - 1]?.click();
  }
});

// ---- Reproduce

document.querySelector("[data-reproduce]")?.addEventListener("click", async (event) => {
  const button = event.currentTarget, told = document.getElementById("reproduced");
  button.disabled = true;
  told.className = "";
  told.textContent = "Building the state of that moment again, and deciding again …";
  try {
    const reply = await fetch(button.dataset.reproduce, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    if (reply.status === 404 || reply.status === 405) {
      told.textContent = "This version of the service cannot decide again yet. `perennial verify` folds the whole log again and compares every digest.";
    } else {
      const found = await reply.json();
      if (!reply.ok) {
        told.className = "bad";
        told.textContent = `✕ ${found.detail ?? reply.statusText} ${found.hint ?? ""}`;
      } else if (found.identical) {
        told.className = "good";
        told.textContent = `Identical, byte by byte: ${found.digest}`;
      } else {
        told.className = "bad";
        const differences = (found.differences ?? []).map((one) =>
          typeof one === "string" ? one : `${one.field}: recorded ${one.recorded}, now ${one.derived}`);
        told.textContent = [`✕ Not identical: expected ${found.expected_digest}, found ${found.digest}.`, found.why, ...differences]
          .filter(Boolean).join("\n");
      }
    }
  } catch (error) {
    told.className = "bad";
    told.textContent = `✕ no answer: ${error.message}`;
  }
  button.disabled = false;
});

// ---- Operate: an act; a rollback, seen first

async function ask(method, path, body) {
  const headers = body ? { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` } : {};
  const reply = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const found = await reply.json();
  if (!reply.ok) throw new Error(`${found.detail ?? reply.statusText} ${found.hint ?? ""}`);
  return found;
}

function said(place, text, kind) {
  place.className = kind;
  place.textContent = kind === "bad" ? `✕ ${text}` : text;
}

document.querySelector("[data-act]")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget, told = document.getElementById("acted");
  try {
    const found = await ask("POST", "/v1/acts", { act: form.dataset.act, reason: form.elements.reason.value });
    said(told, `${form.dataset.act}: recorded at position ${shown(found.position)}. Reload for the state.`, "good");
  } catch (error) { said(told, error.message, "bad"); }
});

const rollback = document.getElementById("rollback");
if (rollback) (async () => {
  const asked = JSON.parse(rollback.dataset.asked), form = document.getElementById("confirm");
  const preview = document.getElementById("preview"), told = document.getElementById("rolled");
  let expected;
  try {
    const [plan, acts] = [await ask("POST", "/v1/rollbacks", { ...asked, dry_run: true, reason: "preview" }), await ask("GET", "/v1/acts")];
    expected = Math.max(0, ...acts.acts.map((one) => one.position));
    const facts = [
      ["now at", `position ${shown(plan.from)}`], ["shared past up to", `position ${shown(plan.to)}`],
      ["records left out", shown(plan.removed)], ["records taken back in", shown(plan.restored)],
      ["decisions that would have come out otherwise", `${shown(plan.changed_decisions)} of ${shown(plan.compared_decisions)} after it`],
      ["state afterwards", plan.digest],
    ];
    if (plan.top) facts.push(["for somebody unknown, before", plan.top.before.join(", ")], ["and after", plan.top.after.join(", ")]);
    preview.replaceChildren(...facts.flatMap(([name, text]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name; dd.textContent = text;
      return [dt, dd];
    }));
    form.hidden = false;
  } catch (error) {
    preview.replaceChildren();
    said(told, error.message, "bad");
    return;
  }
  const ready = () => { form.querySelector("button").disabled = !form.checkValidity(); };
  form.addEventListener("input", ready);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    form.querySelector("button").disabled = true;
    said(told, "Going back …", "");
    try {
      const done = await ask("POST", "/v1/rollbacks", { ...asked, reason: form.elements.reason.value, expected_position: expected });
      said(told, `Done, recorded at position ${shown(done.position)}; state ${done.digest}. `, "good");
      const undo = document.createElement("a");
      undo.href = `/dashboard/operate?position=${done.from}`;
      undo.textContent = "Undo it (with a preview)";
      told.append(undo);
    } catch (error) { said(told, error.message, "bad"); ready(); }
  });
})();

listen();
