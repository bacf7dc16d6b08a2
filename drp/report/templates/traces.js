"use strict";
// The page's traces. The index is at hand; the texts are in chunks (gzip in base64) that are unpacked when they are
// first looked at or searched. `drp/reporting/embedding.py` writes them and says what is in them.
const traces = (() => {
  const RECORD = "\u001e", UNIT = "\u001f", AT_ONCE = 4;
  const ACTIONS = ["", "keep", "delete", "rewrite", "merge"];
  const index = document.getElementById("index");
  const { entries, skills } = index ? JSON.parse(index.textContent) : { entries: [], skills: [] };
  const chunks = new Map();
  const searchable = []; // by chunk: the texts of its entries in lower case
  let reading = null;

  for (const entry of entries) entry.line = `${entry.id}\n${entry.question}`.toLowerCase();

  // The chunks stand at the end of the page, which may still be on its way.
  const parsed = new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else addEventListener("DOMContentLoaded", resolve);
  });

  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const packed = atob(base64), bytes = new Uint8Array(packed.length);
    for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
    return bytes;
  }
  // half: 0, what is known of the chunk's entries; 1, their texts.
  async function unpack(number, half) {
    await parsed;
    const bytes = bytesOf(document.getElementById(`chunk-${number}`).textContent.trim().split(".")[half]);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // Everything about one entry; null where its texts are not in the page.
  async function load(entry) {
    if (entry.chunk == null) return null;
    if (!chunks.has(entry.chunk)) chunks.set(entry.chunk, Promise.all([unpack(entry.chunk, 0), unpack(entry.chunk, 1)]));
    const [known, texts] = (await chunks.get(entry.chunk)).map((half) => half.split(RECORD)[entry.place]);
    const detail = JSON.parse(known), fields = texts.split(UNIT);
    detail.names.forEach((name, place) => { detail[name] = fields[place]; });
    if (detail.steps) detail.steps = cut(detail);
    return detail;
  }
  // The steps' texts out of the thinking, by their lengths.
  function cut({ steps, thinking }) {
    let start = 0;
    return steps.map(([length, skill, action, replacement]) => ({ text: thinking.slice(start, (start += length)), skill, action, replacement }));
  }

  // Makes every text searchable, a few chunks at a time.
  function read() {
    reading ??= (async () => {
      const numbers = [...new Set(entries.map((entry) => entry.chunk))].filter((number) => number != null);
      const next = async () => {
        for (let number; (number = numbers.pop()) != null;) searchable[number] = (await unpack(number, 1)).toLowerCase().split(RECORD);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, next));
      api.ready = true;
    })();
    return reading;
  }
  // Words, and phrases in quotes.
  function parse(query) {
    return Array.from(query.toLowerCase().matchAll(/"([^"]+)"|[^\s"]+/g), ([word, phrase]) => phrase ?? word);
  }
  function contains(entry, words) {
    const text = searchable[entry.chunk]?.[entry.place] ?? "";
    return words.every((word) => entry.line.includes(word) || text.includes(word));
  }
  // skill: its place in `skills`, or null for any; action: its number, or 0 for any. Both hold of one step.
  function uses(entry, skill, action) {
    return entry.uses.some((use) => (skill === null || use >> 3 === skill) && (!action || (use & 7) === action));
  }

  const api = { entries, skills, actions: ACTIONS, ready: false, load, read, parse, contains, uses };
  return api;
})();
