"use strict";
// The page's traces. The index is parsed at once; the texts are in chunks (gzip in base64), which are unpacked when one
// of their entries is opened or when all texts are searched. `drp/report/viewer.py` writes both and describes their format.
const traces = (() => {
  const RECORD = "\u001e", UNIT = "\u001f", AT_ONCE = 4;
  const ACTIONS = ["", "keep", "delete", "rewrite", "merge"];
  const index = document.getElementById("index");
  const { entries, skills } = index ? JSON.parse(index.textContent) : { entries: [], skills: [] };
  const chunks = new Map();
  const searchable = []; // by chunk: the texts of its entries in lower case
  let reading = null;

  for (const entry of entries) entry.line = `${entry.id}\n${entry.question}`.toLowerCase();

  // The chunks are at the end of the page, which may not have been parsed yet.
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
  // half: 0 for the details of the chunk's entries, 1 for their texts.
  async function unpack(number, half) {
    await parsed;
    const bytes = bytesOf(document.getElementById(`chunk-${number}`).textContent.trim().split(".")[half]);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // The details and texts of one entry; null if the page does not include them.
  async function load(entry) {
    if (entry.chunk == null) return null;
    if (!chunks.has(entry.chunk)) chunks.set(entry.chunk, Promise.all([unpack(entry.chunk, 0), unpack(entry.chunk, 1)]));
    const [details, texts] = (await chunks.get(entry.chunk)).map((half) => half.split(RECORD)[entry.place]);
    const detail = JSON.parse(details), fields = texts.split(UNIT);
    detail.names.forEach((name, place) => { detail[name] = fields[place]; });
    if (detail.steps) detail.steps = cut(detail);
    return detail;
  }
  // The steps, with their texts cut out of the thinking by their lengths.
  function cut({ steps, thinking }) {
    let start = 0;
    return steps.map(([length, skill, action, replacement]) => ({ text: thinking.slice(start, (start += length)), skill, action, replacement }));
  }

  // Unpacks the texts of all chunks for searching, AT_ONCE at a time.
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
  // A query's words, and its phrases in quotes.
  function parse(query) {
    return Array.from(query.toLowerCase().matchAll(/"([^"]+)"|[^\s"]+/g), ([word, phrase]) => phrase ?? word);
  }
  function contains(entry, words) {
    const text = searchable[entry.chunk]?.[entry.place] ?? "";
    return words.every((word) => entry.line.includes(word) || text.includes(word));
  }
  // Whether one step has both the skill (its place in `skills`, null for any) and the action (its number, 0 for any).
  function uses(entry, skill, action) {
    return entry.uses.some((use) => (skill === null || use >> 3 === skill) && (!action || (use & 7) === action));
  }

  const api = { entries, skills, actions: ACTIONS, ready: false, load, read, parse, contains, uses };
  return api;
})();
