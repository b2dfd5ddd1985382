// What the editor's page does in the browser: fields with chips or as source, tabs, putting words in, the mail's frames.
// Everything that is kept or sent is a plain form and works without this; the preview comes from the server by htmx.

(() => {
  "use strict";

  const editor = document.getElementById("editor");
  if (!editor) return;
  document.documentElement.classList.add("scripted");
  const TAG = /\{\{[^}]*\}\}|\{%[^%]*%\}/g;

  // ── the lines under a text that is shown as source: numbers, findings, Liquid's tags ──
  function levelsOf(area) {
    const found = document.getElementById(area.getAttribute("aria-describedby")), levels = {};
    for (const each of found ? found.querySelectorAll("[data-line]") : []) {
      const level = each.dataset.level;
      if (["error", "warning"].includes(level) && Number(each.dataset.line) && levels[each.dataset.line] !== "error") levels[each.dataset.line] = level;
    }
    return levels;
  }
  function drawSource(code) {
    const area = code.querySelector("textarea"), levels = levelsOf(area);
    code.querySelector(".lines").replaceChildren(...area.value.split("\n").map((text, index) => {
      const line = document.createElement("div");
      let done = 0;
      for (const tag of text.matchAll(TAG)) {
        const span = document.createElement("span");
        span.className = "tagged";
        span.textContent = tag[0];
        line.append(text.slice(done, tag.index), span);
        done = tag.index + tag[0].length;
      }
      line.append(text.slice(done) || (done ? "" : "\u200b"));
      line.className = levels[index + 1] || "";
      return line;
    }));
  }
  const codes = [...editor.querySelectorAll(".code")];

  function changed(area) {
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // ── fields: each text as its textarea, and with chips over it where the browser and the text have them ──
  const t = window.gatewayChips.phrases(JSON.parse(editor.dataset.words));
  const announced = document.getElementById("announced");
  const announce = (words) => { announced.textContent = words; };
  const hasChips = Boolean("adoptedStyleSheets" in document && window.gatewayChips.chipMenu);
  const menu = hasChips && window.gatewayChips.chipMenu(t, announce);
  const known = new Map();
  function knownOf(area) {
    const panel = area.closest("[data-chips]");
    if (!known.has(panel)) known.set(panel, JSON.parse(panel.dataset.chips));
    return known.get(panel);
  }

  function plainField(area) {
    return {
      area,
      focus: () => area.focus(),
      selection: () => [area.selectionStart, area.selectionEnd],
      select: (from, to) => area.setSelectionRange(from, to),
      before: () => area.value.slice(0, area.selectionStart),
      replace: (from, to, words) => { area.setRangeText(words, from, to, "end"); changed(area); },
    };
  }
  const fields = new Map(); // by textarea: {plain, chips?}
  for (const code of codes) {
    const area = code.querySelector("textarea");
    fields.set(area, { plain: plainField(area) });
    if (hasChips && "chipped" in code.dataset) code.classList.add("has-chips");
  }
  // Of the language that is shown alone: all of them take a third of a second.
  function makeChips() {
    for (const area of editor.querySelectorAll(".panel.on .has-chips textarea")) {
      const own = fields.get(area);
      own.chips ??= window.gatewayChips.chipField(area, knownOf(area), t, {
        changed: () => changed(area),
        picked(found) {
          announce(found ? t("picked", { name: window.gatewayChips.wording(found.chip, t).name }) : "");
          if (suggestions && !suggestions.hidden) suggest(area); // the caret has left what was typed, or come back
        },
        open: (found) => menu.open(own.chips, found),
        keydown: (event) => suggesting(event, own.chips),
      });
    }
  }
  const asSource = document.getElementById("as-source");
  const isSource = () => asSource.getAttribute("aria-pressed") === "true";
  const fieldOf = (area) => (!isSource() && fields.get(area).chips) || fields.get(area).plain;
  function drawAll() {
    for (const code of codes) {
      const area = code.querySelector("textarea");
      drawSource(code);
      fields.get(area).chips?.setLevels(levelsOf(area));
    }
  }
  function showAs(source) {
    asSource.setAttribute("aria-pressed", String(source));
    editor.classList.toggle("as-source", source);
    if (!source) makeChips();
    for (const { chips } of fields.values()) chips?.refresh();
    drawAll();
  }
  asSource.hidden = !hasChips;
  asSource.addEventListener("click", () => {
    showAs(!isSource());
    sessionStorage.setItem("editor-source", isSource() ? "yes" : "");
  });

  // ── what is not saved yet ──
  const unsaved = document.getElementById("unsaved");
  const before = new Map(codes.map((code) => [code, code.querySelector("textarea").defaultValue]));
  let leaving = false;
  const isDirty = () => codes.some((code) => code.querySelector("textarea").value !== before.get(code));
  const showDirty = () => { if (unsaved) unsaved.hidden = !isDirty(); };
  editor.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("beforeunload", (event) => { if (unsaved && !leaving && isDirty()) event.preventDefault(); });

  // ── putting words in, where the writer was last ──
  let last = null; // a writable textarea
  editor.addEventListener("focusin", (event) => {
    const area = event.target.closest(".code")?.querySelector("textarea:not([readonly])");
    if (area) last = area;
  });
  const isShown = (area) => area.closest(".code").offsetParent;
  function insert(words) {
    const area = last && isShown(last) ? last : editor.querySelector(".panel.on .code textarea:not([readonly])");
    if (!area) return;
    const field = fieldOf(area), [start, end] = field.selection();
    field.focus();
    // "…" is where the selected words go; without a selection it is selected, to be written over.
    const chosen = area.value.slice(start, end), hole = chosen ? -1 : words.indexOf("…");
    field.replace(start, end, chosen ? words.replace("…", () => chosen) : words);
    if (hole >= 0) field.select(start + hole, start + hole + 1);
  }

  // ── suggestions after "{{" or "((": plain buttons, reached by the arrow down ──
  const suggestions = document.getElementById("suggestions");
  const suggested = document.getElementById("suggested");
  const OPENED = /(?:\{\{|\(\(|（（)\s*([^\s{}()（）|%]*)$/;
  function suggest(area) {
    if (!suggestions || !area.closest("[data-chips]")) return;
    const typed = OPENED.exec(fieldOf(area).before()), wanted = typed ? typed[1].toLowerCase() : "";
    const { variables, shared } = knownOf(area);
    const fits = (each) => [each.name, each.label || ""].some((words) => words.toLowerCase().includes(wanted));
    const offered = [...Object.values(variables), ...Object.values(shared).filter((each) => !each.for_source)];
    const found = typed ? offered.filter(fits) : [];
    suggestions.querySelectorAll("button").forEach((each) => each.remove());
    suggestions.hidden = !found.length;
    suggested.textContent = found.length ? `${found.length} ${suggested.dataset.words}` : "";
    for (const each of found.slice(0, 8)) {
      const button = document.createElement("button"), example = document.createElement("span");
      button.type = "button";
      button.textContent = `${each.label || each.name} `;
      button.dataset.complete = each.written;
      example.className = "small muted";
      example.textContent = each.formats ? each.formats[0].shows : each.says || t("nothing", { name: each.name });
      button.append(example);
      suggestions.append(button);
    }
    if (!found.length) return;
    area.closest(".field").append(suggestions);
    const field = fieldOf(area), [, caret] = field.selection();
    suggestions.classList.toggle("at-caret", "view" in field);
    if ("view" in field) window.gatewayChips.placeBelow(suggestions, field, caret);
  }
  function closeSuggestions() {
    suggestions.hidden = true;
    suggested.textContent = "";
    if (last) fieldOf(last).focus();
  }
  document.addEventListener("mousedown", (event) => { if (suggestions && !suggestions.contains(event.target)) suggestions.hidden = true; });
  function complete(words) {
    const field = fieldOf(last), typed = OPENED.exec(field.before()), [, end] = field.selection();
    if (typed) field.replace(end - typed[0].length, end, words);
    closeSuggestions();
  }
  // In a field with chips the key is the field's first: it would move the caret as well.
  function suggesting(event, field) {
    if (!suggestions || suggestions.hidden || field.area !== last) return false;
    if (event.key === "Escape") closeSuggestions();
    else if (event.key === "ArrowDown") suggestions.querySelector("button").focus();
    else return false;
    event.preventDefault();
    return true;
  }
  editor.addEventListener("keydown", (event) => {
    if (!suggestions || suggestions.hidden || event.defaultPrevented) return;
    if (event.target === last) { suggesting(event, fieldOf(last)); return; }
    const buttons = [...suggestions.querySelectorAll("button")], at = buttons.indexOf(event.target);
    if (at < 0) return;
    if (event.key === "Escape") { event.preventDefault(); closeSuggestions(); }
    else if (event.key === "ArrowDown") { event.preventDefault(); (buttons[at + 1] || buttons[0]).focus(); }
    else if (event.key === "ArrowUp") { event.preventDefault(); if (at) buttons[at - 1].focus(); else fieldOf(last).focus(); }
  });
  function replace(character, instead) {
    const area = document.getElementById(`text-${editor.elements.locale.value}_sms_liquid`);
    if (!area || area.readOnly) return;
    area.value = area.value.replaceAll(character, instead);
    fields.get(area).chips?.refresh();
    fieldOf(area).focus();
    changed(area);
  }
  const startOf = (text, line) => text.split("\n").slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  // Kinder words in the place of those that the lint found; nothing, where they have moved meanwhile.
  function mend(id, line, column, found, instead) {
    const area = document.getElementById(id), start = startOf(area.value, line) + column - 1;
    if (area.readOnly || area.value.slice(start, start + found.length) !== found) return;
    fieldOf(area).replace(start, start + found.length, instead);
    fieldOf(area).focus();
  }
  function go(id, line) {
    const area = document.getElementById(id), start = startOf(area.value, line);
    fieldOf(area).focus();
    fieldOf(area).select(start, start + (area.value.split("\n")[line - 1] || "").length);
  }

  // A reason for a finding is no part of the text: a preview of it would replace the finding while one types.
  for (const each of editor.querySelectorAll(".findings")) each.addEventListener("input", (event) => event.stopPropagation());

  // ── samples and languages ──
  let kind = "";
  function refresh(sample) {
    kind = sample;
    editor.dispatchEvent(new CustomEvent("refresh"));
  }
  editor.addEventListener("htmx:configRequest", (event) => {
    // htmx sends a form's request to where the button pressed last would send the form, and so did it again: a preview
    // that still waited when somebody pressed "Submit" became a second submission.
    event.detail.path = editor.getAttribute("hx-post");
    if (kind) event.detail.parameters.set ? event.detail.parameters.set("kind", kind) : (event.detail.parameters.kind = kind);
    kind = "";
  });
  // The sample's fields are replaced while one may be typing in them, or have them open: both stay as they were.
  let open = false;
  document.body.addEventListener("htmx:beforeRequest", () => { open = Boolean(document.querySelector("#sample details")?.open); });
  document.body.addEventListener("htmx:oobBeforeSwap", (event) => {
    if (event.detail.target.id === "sample" && document.activeElement && document.activeElement.matches("#sample input")) event.detail.shouldSwap = false;
  });
  document.body.addEventListener("htmx:oobAfterSwap", () => {
    const details = document.querySelector("#sample details");
    if (details && open) details.open = true;
  });
  const tabs = [...editor.querySelectorAll("[role=tab]")];
  function show(tab) {
    for (const each of tabs) {
      const on = each === tab;
      each.setAttribute("aria-selected", String(on));
      each.tabIndex = on ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).classList.toggle("on", on);
    }
    editor.elements.locale.value = tab.dataset.locale;
    if (!isSource()) makeChips();
    tab.focus();
    drawAll();
    refresh("usual");
  }
  editor.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(event.target);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (at >= 0 && step) { event.preventDefault(); show(tabs[(at + step + tabs.length) % tabs.length]); }
    if (at >= 0 && event.key === "Home") { event.preventDefault(); show(tabs[0]); }
    if (at >= 0 && event.key === "End") { event.preventDefault(); show(tabs[tabs.length - 1]); }
    // Enter in a one-line field would press the form's first button, and save.
    if (event.key === "Enter" && event.target.matches("#sample input")) { event.preventDefault(); refresh(""); }
    if (event.key === "Enter" && event.target.matches("input[name^='reason.']")) { event.preventDefault(); event.target.parentElement.querySelector("button").click(); }
    if (event.key === "Enter" && event.target.matches("input[name^=variable_]")) { event.preventDefault(); document.getElementById("set-variable").click(); }
  });

  editor.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const data = button.dataset;
    if (data.complete !== undefined) complete(data.complete);
    else if (data.insert !== undefined) insert(data.insert);
    else if (data.replace !== undefined) replace(data.replace, data.instead);
    else if (data.mend !== undefined) mend(data.mend, Number(data.line), Number(data.column), data.found, data.instead);
    else if (data.go !== undefined) go(data.go, Number(data.line));
    else if (button.getAttribute("role") === "tab") show(button);
    else if (data.kind !== undefined) { event.preventDefault(); refresh(data.kind); }
  });

  // ── the mail's frames: replaced in place, so that Back leads back, and only when the mail changed ──
  const shown = {};
  function frames() {
    const source = document.getElementById("frames");
    for (const frame of editor.querySelectorAll("iframe[data-scheme]")) {
      const scheme = frame.dataset.scheme;
      const address = source.dataset[scheme] || "about:blank";
      if (shown[scheme] === undefined) { shown[scheme] = frame.getAttribute("src") || "about:blank"; }
      if (shown[scheme] === address) continue;
      shown[scheme] = address;
      frame.contentWindow.location.replace(address);
    }
  }

  editor.addEventListener("input", (event) => {
    const code = event.target.closest(".code");
    if (code) { drawSource(code); showDirty(); suggest(event.target); }
  });
  document.body.addEventListener("htmx:afterRequest", () => { drawAll(); frames(); });
  showAs(!hasChips || sessionStorage.getItem("editor-source") === "yes");
  frames();
  showDirty();
})();
