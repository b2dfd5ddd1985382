// What the editor's page does in the browser: line numbers, tabs, putting words in, and the mail's frames.
// Everything that is kept or sent is a plain form and works without this; the preview comes from the server by htmx.

(() => {
  "use strict";

  const editor = document.getElementById("editor");
  if (!editor) return;
  document.documentElement.classList.add("scripted");
  const TAG = /\{\{[^}]*\}\}|\{%[^%]*%\}/g;

  // ── the lines under a text: numbers, findings, Liquid's tags ──
  function draw(code) {
    const area = code.querySelector("textarea");
    const lines = code.querySelector(".lines");
    const found = document.getElementById(area.getAttribute("aria-describedby"));
    const levels = {};
    for (const each of found ? found.querySelectorAll("[data-line]") : []) {
      const level = each.dataset.level;
      if (level && Number(each.dataset.line) && levels[each.dataset.line] !== "error") levels[each.dataset.line] = level;
    }
    lines.replaceChildren(...area.value.split("\n").map((text, index) => {
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
  const drawAll = () => codes.forEach(draw);

  function changed(area) {
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // ── what is not saved yet ──
  const unsaved = document.getElementById("unsaved");
  const before = new Map(codes.map((code) => [code, code.querySelector("textarea").defaultValue]));
  let leaving = false;
  const isDirty = () => codes.some((code) => code.querySelector("textarea").value !== before.get(code));
  const showDirty = () => { if (unsaved) unsaved.hidden = !isDirty(); };
  editor.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("beforeunload", (event) => { if (unsaved && !leaving && isDirty()) event.preventDefault(); });

  // ── putting words in, where the writer was last ──
  let last = null;
  editor.addEventListener("focusin", (event) => { if (event.target.matches(".code textarea:not([readonly])")) last = event.target; });
  function insert(words) {
    const area = last && last.offsetParent ? last : editor.querySelector(".panel.on .code textarea:not([readonly])");
    if (!area) return;
    area.focus();
    // "…" is where the selected words go; without a selection it is selected, to be written over.
    const start = area.selectionStart, chosen = area.value.slice(start, area.selectionEnd);
    area.setRangeText(chosen ? words.replace("…", () => chosen) : words, start, area.selectionEnd, "end");
    const hole = chosen ? -1 : words.indexOf("…");
    if (hole >= 0) area.setSelectionRange(start + hole, start + hole + 1);
    changed(area);
  }

  // ── suggestions after "{{" or "((": plain buttons, reached by the arrow down ──
  const suggestions = document.getElementById("suggestions");
  const suggested = document.getElementById("suggested");
  const OPENED = /(?:\{\{|\(\()\s*([a-z0-9_.-]*)$/;
  function suggest(area) {
    if (!suggestions) return;
    const typed = OPENED.exec(area.value.slice(0, area.selectionStart));
    const found = typed ? [...editor.querySelectorAll("[data-suggest]")].filter((each) => each.dataset.suggest.includes(typed[1])) : [];
    suggestions.querySelectorAll("button").forEach((each) => each.remove());
    suggestions.hidden = !found.length;
    suggested.textContent = found.length ? `${found.length} ${suggested.dataset.words}` : "";
    for (const each of found.slice(0, 8)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = each.dataset.suggest;
      button.dataset.complete = each.dataset.insert;
      suggestions.append(button);
    }
    if (found.length) area.closest(".field").append(suggestions);
  }
  function closeSuggestions(area) {
    suggestions.hidden = true;
    suggested.textContent = "";
    if (area) area.focus();
  }
  function complete(words) {
    const typed = OPENED.exec(last.value.slice(0, last.selectionStart));
    if (typed) last.setRangeText(words, last.selectionStart - typed[0].length, last.selectionStart, "end");
    const area = last;
    changed(area);
    closeSuggestions(area);
  }
  editor.addEventListener("keydown", (event) => {
    if (!suggestions || suggestions.hidden) return;
    const buttons = [...suggestions.querySelectorAll("button")], at = buttons.indexOf(event.target);
    if (event.key === "Escape") { event.preventDefault(); closeSuggestions(last); }
    else if (event.key === "ArrowDown" && (at >= 0 || event.target === last)) { event.preventDefault(); (buttons[at + 1] || buttons[0]).focus(); }
    else if (event.key === "ArrowUp" && at >= 0) { event.preventDefault(); (buttons[at - 1] || last).focus(); }
  });
  function replace(character, instead) {
    const area = document.getElementById(`text-${editor.elements.locale.value}_sms_liquid`);
    if (!area || area.readOnly) return;
    area.value = area.value.replaceAll(character, instead);
    area.focus();
    changed(area);
  }
  // Kinder words in the place of those that the lint found; nothing, where they have moved meanwhile.
  function mend(id, line, column, found, instead) {
    const area = document.getElementById(id);
    if (area.readOnly) return;
    const start = area.value.split("\n").slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
    if (area.value.slice(start, start + found.length) !== found) return;
    area.setRangeText(instead, start, start + found.length, "end");
    area.focus();
    changed(area);
  }
  function go(id, line) {
    const area = document.getElementById(id);
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] || "").length);
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
    if (code) { draw(code); showDirty(); suggest(event.target); }
  });
  document.body.addEventListener("htmx:afterRequest", () => { drawAll(); frames(); });
  drawAll();
  frames();
  showDirty();
})();
