// The trace viewer: list, filters and detail view of `traces` (traces.js). All text comes from models and is treated as
// hostile: it is put on the page by textContent only.
(() => {
  const root = document.getElementById("viewer");
  if (!root) return;
  const { entries, skills, actions } = traces;
  const list = document.getElementById("list"), space = document.getElementById("space");
  const pane = document.getElementById("trace"), count = document.getElementById("count");
  const search = document.getElementById("search"), filter = document.getElementById("filter");
  const skill = document.getElementById("skill"), action = document.getElementById("action"), order = document.getElementById("order");
  const HEIGHT = 56, HUES = 8, SPARE_ROWS = 6;
  const KINDS = {
    all: ["All", () => true],
    pruned: ["Pruned traces", (e) => e.kind === "pruned"],
    steps: ["Decomposed, not yet pruned", (e) => e.kind === "steps"],
    trace: ["Traces, not yet decomposed", (e) => e.kind === "trace"],
    longer: ["Longer after pruning", (e) => e.kind === "pruned" && saving(e) !== null && saving(e) <= 0],
    failed: ["Failed", (e) => e.kind === "failed"],
    lost: ["Only the base is correct", (e) => e.kind === "lost"],
    gained: ["Only the trained model is correct", (e) => e.kind === "gained"],
  };
  const ORDERS = {
    file: ["File order", (a, b) => rank(a) - rank(b)],
    saved: ["Largest saving", (a, b) => (saving(b) ?? -Infinity) - (saving(a) ?? -Infinity)],
    share: ["Largest share saved", (a, b) => share(b) - share(a)],
    least: ["Smallest share saved", (a, b) => share(a) - share(b)],
    long: ["Longest", (a, b) => (b.before ?? 0) - (a.before ?? 0)],
  };
  const hues = new Map(skills.map((name, index) => [name, `var(--skill-${index % HUES})`]));
  let shown = entries, selected = null, words = [];

  function rank(entry) {
    return ["pruned", "steps", "trace", "lost", "gained", "failed"].indexOf(entry.kind);
  }
  function saving(entry) {
    return entry.before == null || entry.after == null ? null : entry.before - entry.after;
  }
  function share(entry) {
    return entry.before ? (saving(entry) ?? NaN) / entry.before || 0 : 0;
  }
  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text != null) element.textContent = clean(text);
    return element;
  }
  // Shows control characters as their symbols.
  function clean(text) {
    return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) => (c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0))))
      .replace(/[\u202a-\u202e\u2066-\u2069]/g, "\u2426");
  }
  function number(value) {
    return value == null ? "?" : value.toLocaleString("en-US");
  }
  function percent(entry) {
    if (saving(entry) === null || !entry.before) return "";
    const change = Math.round((100 * (entry.after - entry.before)) / entry.before);
    return `${change < 0 ? "\u2212" : change > 0 ? "+" : ""}${Math.abs(change)}%`;
  }
  function tokens(entry) {
    if (entry.after == null) return entry.before == null ? "" : `${number(entry.before)} tokens`;
    return `${number(entry.before)} \u2192 ${number(entry.after)}`;
  }

  function fill(select, options) {
    for (const [value, label] of options) {
      const option = make("option", "", label);
      option.value = value;
      select.append(option);
    }
  }
  function update() {
    words = traces.parse(search.value);
    if (words.length && !traces.ready) traces.read().then(update, (error) => { count.textContent = `The texts cannot be searched: ${error.message}`; });
    const belongs = KINDS[filter.value][1], wanted = skill.value ? Number(skill.value) : null, done = Number(action.value);
    shown = entries.filter((entry) =>
      belongs(entry) && ((wanted === null && !done) || traces.uses(entry, wanted, done)) && traces.contains(entry, words));
    shown.sort(ORDERS[order.value][1]);
    count.textContent = `${number(shown.length)} of ${number(entries.length)}${words.length && !traces.ready ? "; searching texts" : ""}`;
    space.style.height = `${shown.length * HEIGHT}px`;
    list.scrollTop = 0;
    draw();
    if (shown.includes(selected)) mark();
    else select(shown[0] ?? null);
  }
  // Creates the visible rows only.
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE_ROWS);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE_ROWS);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(row(shown[place], place));
    space.replaceChildren(...rows);
    const active = shown.indexOf(selected);
    if (active >= first && active < last) list.setAttribute("aria-activedescendant", `entry-${active}`);
    else list.removeAttribute("aria-activedescendant");
  }
  function row(entry, place) {
    const element = make("div", "entry");
    element.id = `entry-${place}`;
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", String(entry === selected));
    element.setAttribute("aria-setsize", String(shown.length));
    element.setAttribute("aria-posinset", String(place + 1));
    element.style.top = `${place * HEIGHT}px`;
    const top = make("div", "top");
    top.append(make("span", "name", entry.id), make("span", entry.kind === "failed" || entry.kind === "lost" ? "wrong" : "", label(entry)));
    element.append(top, make("div", "question", entry.question));
    element.addEventListener("click", () => select(entry));
    return element;
  }
  function label(entry) {
    return { failed: "failed", lost: "now incorrect", gained: "now correct" }[entry.kind] ?? (percent(entry) || tokens(entry));
  }
  function select(entry, scroll) {
    selected = entry;
    if (entry && scroll) {
      const top = shown.indexOf(entry) * HEIGHT;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
    }
    draw();
    show(entry);
  }

  async function show(entry) {
    if (!entry) {
      pane.replaceChildren(make("p", "meta", "No matches."));
      return;
    }
    const detail = await traces.load(entry).catch((error) => ({ question: `This browser could not unpack the trace: ${error.message}` }));
    if (entry !== selected) return; // another entry was selected meanwhile
    pane.replaceChildren(make("h3", "", entry.id));
    pane.scrollTop = 0;
    if (!detail) {
      pane.append(make("p", "meta", "The page does not include this trace's text; `drp view` shows it."));
      return;
    }
    if (detail.question) pane.append(make("p", "question prose", detail.question));
    const meta = make("div", "meta");
    if (tokens(entry)) meta.append(make("span", "", `${tokens(entry)} ${percent(entry)}`));
    if (detail.answer != null) meta.append(make("span", "", `gold answer ${detail.answer}`));
    if (detail.predicted != null) meta.append(verdict(detail));
    if (detail.teacher) meta.append(make("span", "", `teacher ${detail.teacher}`));
    pane.append(meta);
    if (detail.error) pane.append(failure(detail));
    if (detail.responses) pane.append(columns(response(detail.responses[0], detail.first), response(detail.responses[1], detail.second)));
    else if (detail.pruned != null) pane.append(columns(original(detail), pruned(detail)));
    else if (detail.thinking) pane.append(original(detail));
    mark(true);
  }
  // Highlights the words searched for; with `scroll`, scrolls to the first of them.
  function mark(scroll) {
    if (!globalThis.CSS?.highlights) return;
    const walker = document.createTreeWalker(pane, NodeFilter.SHOW_TEXT), ranges = [];
    while (words.length && walker.nextNode()) {
      const node = walker.currentNode, text = node.data.toLowerCase();
      if (text.length !== node.data.length) continue; // lower case has another length, so that positions do not match
      for (const word of words) for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
    if (scroll && ranges.length) pane.scrollTop = ranges[0].getBoundingClientRect().top - pane.getBoundingClientRect().top - 80;
  }
  function verdict(detail) {
    const [style, state] = detail.correct === null ? ["", "not graded"] : detail.correct ? ["right", "correct"] : ["wrong", "incorrect"];
    return make("span", style, `predicted ${detail.predicted ?? "none"} (${state})`);
  }
  function columns(...parts) {
    const element = make("div", "columns");
    element.append(...parts);
    return element;
  }
  function original(detail) {
    const element = make("div");
    element.append(make("h4", "", "Original"));
    if (detail.steps) element.append(...detail.steps.map(step));
    else element.append(make("p", "prose", detail.thinking));
    if (detail.summary) element.append(make("p", "prose summary", detail.summary));
    return element;
  }
  function step({ text, skill: name, action: done, replacement }) {
    const element = make("div", "step");
    if (name) element.style.setProperty("--hue", hues.get(name) ?? "var(--line)");
    const tags = make("div", "tags");
    if (name) tags.append(make("span", "skill", name));
    if (done) tags.append(make("span", `action ${done}`, done));
    const gone = done && done !== "keep";
    element.append(tags, make(gone ? "del" : "p", "prose", text.trim()));
    if (replacement) element.append(make("ins", "prose", replacement));
    return element;
  }
  function pruned(detail) {
    const element = make("div");
    element.append(make("h4", "", "Pruned"), make("p", "prose", detail.pruned));
    if (detail.pruned_summary) element.append(make("p", "prose summary", detail.pruned_summary));
    return element;
  }
  function response(sample, text) {
    const element = make("div");
    element.append(make("h4", "", `${sample.model}, ${number(sample.tokens)} tokens`), verdict(sample), make("p", "prose summary", text));
    return element;
  }
  function failure(detail) {
    const element = make("div", "step");
    element.append(make("p", "prose wrong", `${detail.stage}: ${detail.error}, after ${detail.attempts} attempts`), make("p", "prose", detail.message));
    if (detail.raw) element.append(make("h4", "", "Last reply"), make("pre", "", detail.raw));
    return element;
  }

  fill(filter, Object.entries(KINDS).filter(([, [, belongs]]) => entries.some(belongs)).map(([value, [name]]) => [value, name]));
  fill(order, Object.entries(ORDERS).map(([value, [name]]) => [value, name]));
  fill(skill, [["", "Any"], ...skills.slice(0, 200).map((name, place) => [place, name])]);
  fill(action, [["0", "Any"], ...actions.slice(1).map((name, place) => [place + 1, name])]);
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 60);
  });
  for (const control of [filter, skill, action, order]) control.addEventListener("change", () => { selected = null; update(); });
  search.addEventListener("focus", () => traces.read().catch(() => {}), { once: true }); // a search is likely to follow
  let drawing = false;
  list.addEventListener("scroll", () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  });
  list.addEventListener("keydown", (event) => {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !shown.length) return;
    event.preventDefault();
    const place = Math.min(shown.length - 1, Math.max(0, shown.indexOf(selected) + moves[event.key]));
    select(shown[place], true);
  });
  addEventListener("resize", draw);
  update();
  root.dataset.ready = "true";
})();
