"use strict";
// Lanes, bands and lives on two canvases: hosts and faults stay in sight on top, lives scroll below.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const LABEL = 132, ROW = 15, LANE = 22, BAND = 15, AXIS = 24, PAD = 18;
const { tasks, faults, downs } = data.lives;
const hosts = [];
for (const event of data.events) {
  if (event.host !== "world" && !hosts.includes(event.host)) hosts.push(event.host);
}
const rank = (host) => ["producer", "bridge", "endpoint"].findIndex((kind) => host.startsWith(kind));
hosts.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
const bands = stack(faults);
const bandRows = bands.length ? Math.max(...bands) + 1 : 0;
const view = { from: 0, to: Math.max(data.end, 1) };
let selected = null, needle = "";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const seconds = (us) => `${(us / 1e6).toFixed(3)}s`;
const short = (task) => (/^\d+-/.test(task) ? `#${task.split("-")[0]}` : task);
const width = () => $("chart").clientWidth;
const x = (at) => LABEL + ((at - view.from) / (view.to - view.from)) * (width() - LABEL - PAD);
const time = (px) => view.from + ((px - LABEL) / (width() - LABEL - PAD)) * (view.to - view.from);

// Rows for overlapping spans, the first free one each.
function stack(spans) {
  const ends = [];
  return spans.map((span) => {
    let row = ends.findIndex((end) => end <= span.from);
    if (row < 0) row = ends.length;
    ends[row] = Math.max(span.to, span.from + (data.end / 12));
    return row;
  });
}

function canvas(id, height) {
  const element = $(id), scale = window.devicePixelRatio || 1;
  element.width = width() * scale;
  element.height = height * scale;
  element.style.width = `${width()}px`;
  element.style.height = `${height}px`;
  const pen = element.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  return pen;
}

function bar(pen, from, to, y, height, fill, alpha = 1) {
  const left = Math.max(x(from), LABEL), right = Math.min(x(to), width() - PAD);
  if (right < LABEL || left > width() - PAD) return;
  pen.globalAlpha = alpha;
  pen.fillStyle = fill;
  pen.fillRect(left, y, Math.max(right - left, 1.5), height);
  pen.globalAlpha = 1;
}

function label(pen, text, y, strong) {
  pen.fillStyle = color(strong ? "ink" : "dim");
  pen.textAlign = "right";
  pen.fillText(text.length > 20 ? `${text.slice(0, 19)}…` : text, LABEL - 10, y);
  pen.textAlign = "left";
}

function marks(pen, height) {
  for (const violation of data.violations) {
    const at = x(violation.at);
    if (at < LABEL || at > width() - PAD) continue;
    pen.fillStyle = color("violation");
    pen.fillRect(at - 0.75, 0, 1.5, height);
  }
  const at = x(data.settling);
  if (data.settling < data.end && at > LABEL && at < width() - PAD) {
    pen.strokeStyle = color("dim");
    pen.setLineDash([3, 4]);
    pen.beginPath();
    pen.moveTo(at, 0);
    pen.lineTo(at, height);
    pen.stroke();
    pen.setLineDash([]);
  }
}

function step() {
  const wanted = (view.to - view.from) / Math.max((width() - LABEL) / 110, 1);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted);
}

function grid(pen, height, withText) {
  const by = step();
  for (let at = Math.ceil(view.from / by) * by; at <= view.to; at += by) {
    pen.fillStyle = color("line");
    pen.fillRect(x(at), withText ? AXIS - 6 : 0, 1, height);
    if (withText) {
      pen.fillStyle = color("dim");
      pen.textAlign = "center";
      pen.fillText(by >= 1e6 ? `${at / 1e6}s` : `${(at / 1e6).toFixed(by >= 1e3 ? 3 : 6)}s`, x(at), 9);
      pen.textAlign = "left";
    }
  }
}

function drawTop() {
  const height = AXIS + bandRows * BAND + hosts.length * LANE + 12;
  const pen = canvas("top", height);
  grid(pen, height, true);
  faults.forEach((fault, index) => {
    const y = AXIS + bands[index] * BAND;
    bar(pen, fault.from, fault.to, y + 1, BAND - 3, color("fault"), fault.struck ? 0.75 : 0.32);
    // A text may go on behind its band, up to the next one.
    const behind = faults.filter((other, at) => bands[at] === bands[index] && other.from > fault.from);
    const right = Math.min(width() - PAD, ...behind.map((other) => x(other.from) - 3));
    const left = Math.max(x(fault.from), LABEL) + 4;
    if (x(fault.to) > LABEL && left < right) {
      pen.save();
      pen.beginPath();
      pen.rect(left, y, right - left, BAND);
      pen.clip();
      pen.fillStyle = color("ink");
      pen.fillText(fault.text, left, y + BAND / 2 - 0.5);
      pen.restore();
    }
  });
  if (bandRows) label(pen, "faults", AXIS + BAND / 2);
  hosts.forEach((host, index) => {
    const y = AXIS + bandRows * BAND + index * LANE + 6;
    label(pen, host, y + LANE / 2, true);
    bar(pen, view.from, view.to, y + LANE / 2 - 0.5, 1, color("line"));
    for (const down of downs.filter((down) => down.host === host)) {
      bar(pen, down.from, down.to, y + 3, LANE - 6, color("down"), 0.8);
    }
  });
  for (const event of data.events) {
    const lane = hosts.indexOf(event.host);
    if (lane < 0 || event.at < view.from || event.at > view.to) continue;
    const shades = { producer: "ready", queue: "leased", endpoint: "executing", fault: "fault" };
    const dim = !matches(event);
    pen.globalAlpha = dim ? 0.12 : 0.85;
    pen.fillStyle = color(shades[event.kind] || "dim");
    pen.fillRect(x(event.at) - 1, AXIS + bandRows * BAND + lane * LANE + 10, 2, LANE - 8);
  }
  pen.globalAlpha = 1;
  marks(pen, height);
}

function matches(event) {
  if (selected) return event.task === selected;
  if (!needle) return true;
  const words = `${event.text} ${event.task ? short(event.task) : ""} ${event.host}`.toLowerCase();
  return words.includes(needle);
}

const culprit = data.violations.length ? data.violations[0].task : null;
let shown = [];
function chosen() {
  if (!needle) return tasks;
  const named = new Set(data.events.filter(matches).map((event) => event.task));
  return tasks.filter((life) => short(life.task) === needle || life.task.includes(needle) || named.has(life.task));
}

function drawLives() {
  shown = chosen();
  const height = Math.max(shown.length * ROW + 12, 60);
  const pen = canvas("lives", height);
  grid(pen, height, false);
  shown.forEach((life, index) => {
    const y = index * ROW + 4;
    const strong = life.task === selected || life.task === culprit;
    if (life.task === selected) bar(pen, view.from, view.to, y, ROW, color("line"), 0.6);
    label(pen, short(life.task), y + ROW / 2, strong);
    const faded = selected && life.task !== selected ? 0.35 : 1;
    for (const span of life.spans) {
      const thick = span.kind === "executing";
      bar(pen, span.from, span.to, y + (thick ? 3 : 5), thick ? ROW - 6 : ROW - 10, color(span.kind), faded);
    }
    if (life.done !== null && x(life.done) > LABEL && x(life.done) < width() - PAD) {
      pen.globalAlpha = faded;
      pen.strokeStyle = color("done");
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.arc(x(life.done), y + ROW / 2, 3, 0, 7);
      pen.stroke();
      pen.globalAlpha = 1;
    }
    if (life.task === culprit) {
      pen.fillStyle = color("violation");
      pen.fillRect(2, y + 3, 3, ROW - 6);
    }
  });
  marks(pen, height);
}

// The list would be slow with tens of thousands of lines: it shows what is in view, up to a bound.
const LINES_MAX = 600;
function drawStory() {
  const inView = (event) => selected || (event.at >= view.from && event.at <= view.to);
  const events = data.events.filter((event) => matches(event) && inView(event));
  $("story-title").textContent = selected
    ? `Life of ${selected} (${events.length} events)`
    : `Events in view (${events.length}${events.length > LINES_MAX ? `, the first ${LINES_MAX}` : ""})`;
  const where = new Set(data.violations.map((violation) => violation.record));
  $("story").replaceChildren(...events.slice(0, LINES_MAX).map((event) => {
    const line = document.createElement("li");
    line.className = `${event.kind}${where.has(event.index) ? " here" : ""}`;
    const at = document.createElement("time");
    at.textContent = seconds(event.at);
    const text = document.createElement("span");
    const host = document.createElement("span");
    host.className = "host";
    host.textContent = `${event.host} `;
    text.append(host, event.text);
    line.append(at, text);
    line.onclick = () => {
      const half = (view.to - view.from) / 2;
      show(event.at - half, event.at + half);
      if (event.task) select(event.task);
    };
    return line;
  }));
}

let pending = false;
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    drawTop();
    drawLives();
    drawStory();
  });
}

function show(from, to) {
  const span = Math.min(Math.max(to - from, 1000), data.end || 1);
  view.from = Math.min(Math.max(from, 0), data.end - span);
  view.to = view.from + span;
  draw();
}

function zoom(factor, around) {
  const at = around ?? (view.from + view.to) / 2;
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

function select(task) {
  selected = task;
  const row = shown.findIndex((life) => life.task === task);
  const scroll = $("scroll"), y = row * ROW;
  if (row >= 0 && (y < scroll.scrollTop || y > scroll.scrollTop + scroll.clientHeight - ROW)) {
    scroll.scrollTop = y - scroll.clientHeight / 2;
  }
  draw();
}

function tip(event, text) {
  const box = $("tip");
  box.hidden = !text;
  box.textContent = text || "";
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - 300)}px`;
  box.style.top = `${event.clientY + 16}px`;
}

function underTop(px, y) {
  const at = time(px), slack = (view.to - view.from) / 300;
  const row = Math.floor((y - AXIS) / BAND);
  const fault = faults.find((fault, index) => bands[index] === row && fault.from - slack <= at && at <= fault.to + slack);
  if (fault && y >= AXIS && row < bandRows) {
    return `fault ${fault.fault}: ${fault.text}, ${seconds(fault.from)} to ${seconds(fault.to)}${fault.struck ? "" : " (changed nothing)"}`;
  }
  const host = hosts[Math.floor((y - AXIS - bandRows * BAND - 6) / LANE)];
  const near = data.events.filter((event) => event.host === host && Math.abs(event.at - at) < slack);
  return near.slice(0, 4).map((event) => `${seconds(event.at)} ${event.text}`).join("  ·  ");
}

function underLives(px, y) {
  const life = shown[Math.floor((y - 4) / ROW)];
  if (!life) return "";
  const at = time(px);
  const spans = life.spans.filter((span) => span.from <= at && at <= span.to);
  const what = spans.map((span) => `${span.kind} ${seconds(span.from)} to ${seconds(span.to)}`).join(", ");
  return `${life.task} on ${life.bridge}${what ? `: ${what}` : ""}`;
}

for (const [id, under] of [["top", underTop], ["lives", underLives]]) {
  const element = $(id);
  let drag = null;
  element.addEventListener("wheel", (event) => {
    if (id === "lives" && !event.ctrlKey && !event.shiftKey && Math.abs(event.deltaY) > 0 && event.altKey) return;
    if (id === "lives" && $("scroll").scrollHeight > $("scroll").clientHeight && !event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, time(event.offsetX));
  }, { passive: false });
  element.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: view.from, to: view.to, moved: false };
    element.setPointerCapture(event.pointerId);
    element.classList.add("dragging");
  });
  element.addEventListener("pointermove", (event) => {
    if (!drag) return tip(event, under(event.offsetX, event.offsetY));
    const by = ((drag.x - event.clientX) / (width() - LABEL - PAD)) * (drag.to - drag.from);
    drag.moved ||= Math.abs(drag.x - event.clientX) > 3;
    if (drag.moved) show(drag.from + by, drag.to + by);
  });
  element.addEventListener("pointerup", (event) => {
    element.classList.remove("dragging");
    if (drag && !drag.moved && id === "lives") {
      const life = shown[Math.floor((event.offsetY - 4) / ROW)];
      select(life && life.task !== selected ? life.task : null);
    }
    drag = null;
  });
  element.addEventListener("pointerleave", (event) => tip(event, ""));
}

$("badge").textContent = data.held ? "held" : "broken";
$("badge").className = data.held ? "held" : "broken";
$("headline").textContent = data.headline + (data.panic ? `; panic: ${data.panic}` : "");
$("reproduce").textContent = data.reproduce;
$("copy").onclick = () => navigator.clipboard?.writeText(data.reproduce);
$("violations").replaceChildren(...data.violations.slice(0, 5).map((violation) => {
  const line = document.createElement("div");
  line.className = "violation-line";
  const name = document.createElement("b");
  name.textContent = `${violation.invariant}: `;
  line.append(name, violation.story);
  line.onclick = () => toViolation(violation);
  return line;
}));
function toViolation(violation) {
  show(violation.at - data.end / 16, violation.at + data.end / 32);
  if (violation.task) select(violation.task);
}
$("goto").hidden = data.violations.length === 0;
$("goto").onclick = () => toViolation(data.violations[0]);
$("in").onclick = () => zoom(0.5);
$("out").onclick = () => zoom(2);
$("fit").onclick = () => show(0, data.end);
$("filter").oninput = (event) => {
  needle = event.target.value.trim().toLowerCase();
  selected = null;
  draw();
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape") { $("filter").value = needle = ""; select(null); }
});
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
