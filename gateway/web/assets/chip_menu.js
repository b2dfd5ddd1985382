// What can be done to a chip: another format, a condition turned round, removed with or without its words.
// One dialog of plain buttons below the chip, by mouse and by keyboard.

(() => {
  "use strict";

  if (!window.gatewayChips.chipField) return;

  function element(name, words = "", attributes = {}) {
    const made = document.createElement(name);
    made.textContent = words;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // Below a place of a field with chips, and within the field's width.
  function placeBelow(box, field, at) {
    const frame = box.parentElement.getBoundingClientRect(), caret = field.view.coordsAtPos(at, 1) || frame;
    box.style.top = `${caret.bottom - frame.top + 6}px`;
    box.style.left = `${Math.max(0, Math.min(caret.left - frame.left, frame.width - box.offsetWidth))}px`;
  }

  function chipMenu(t, announce) {
    const menu = element("div", "", { id: "chip-menu", role: "dialog", "aria-labelledby": "chip-menu-title", class: "card stack tight" });
    let field = null, place = 0;
    menu.hidden = true;

    function close() {
      menu.hidden = true;
      if (field) field.focus();
    }
    function act(changes) {
      field.changeAll(changes);
      close();
    }
    function button(words, run, attributes = {}) {
      const made = element("button", words, { type: "button", ...attributes });
      made.addEventListener("click", run);
      return made;
    }
    function removed(chip, changes) {
      announce(t("removed", { name: window.gatewayChips.wording(chip, t).name }));
      act(changes);
    }

    function plural({ from, to, chip }) {
      const inputs = [["one", 0], ["other", 1]].map(([key, index]) => {
        const label = element("label", t(key)), input = element("input", "", { maxlength: "60" });
        input.value = chip.plural[index];
        label.append(input);
        return { label, input };
      });
      const use = () => {
        const [one, other] = inputs.map(({ input }) => input.value.replace(/['{}%\n]/g, ""));
        act([{ from, to, insert: `{{ ${chip.variable.name} | plural: '${one}', '${other}' }}` }]);
      };
      for (const { input } of inputs) {
        input.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); use(); } });
      }
      return [...inputs.map(({ label }) => label), button(t("use"), use)];
    }

    function formats({ from, to, chip }) {
      const list = element("div", "", { role: "group", "aria-label": t("formats"), class: "row" });
      const looks = new Set(); // an amount with cents looks the same with and without them left out
      for (const format of chip.variable.formats) {
        const wanted = field.reader.canonical(format.source);
        if (looks.has(format.shows) && wanted !== chip.canonical) continue;
        looks.add(format.shows);
        const on = wanted === chip.canonical || Boolean(chip.plural && wanted.includes("|plural:"));
        const change = () => (on ? close() : act([{ from, to, insert: `{{ ${format.source} }}` }]));
        const look = on && chip.plural ? chip.plural.join(" / ") : format.shows || format.source;
        list.append(button(look, change, { "aria-pressed": String(on) }));
      }
      const choice = chip.variable.formats.length > 1 ? [element("p", t("formats"), { class: "small muted" }), list] : [];
      return [element("p", chip.variable.what, { class: "small muted" }), ...choice, ...(chip.plural ? plural({ from, to, chip }) : [])];
    }

    function conditions({ chip }) {
      const { group } = chip, all = group.tags, tag = all.at(-1), [first] = all;
      const turned = group.first.negated ? "if" : "unless";
      const turn = () => act([
        { from: first.from, to: first.to, insert: `{% ${turned} ${group.first.variable.name} %}` },
        { from: tag.from, to: tag.to, insert: `{% end${turned} %}` },
      ]);
      const keep = () => removed(group.first, all.map(({ from, to }) => ({ from, to })));
      const drop = () => removed(group.first, [{ from: group.from, to: group.to }]);
      const words = t(group.first.negated ? "only_if" : "only_unless", { name: group.first.variable.given });
      return [button(words, turn), button(t("keep"), keep), button(t("drop"), drop)];
    }

    // `at`: {from, to, chip}, as the field gives it.
    function open(of, at) {
      field = of;
      const { chip, from, to } = at, words = window.gatewayChips.wording(chip, t);
      const title = element("strong", words.label || `${t("shared_title")}: ${chip.text.name}`, { id: "chip-menu-title" });
      const isCondition = "group" in chip, writable = !field.area.readOnly;
      menu.replaceChildren(title);
      if (chip.kind === "variable" && writable) menu.append(...formats(at));
      if (isCondition && writable) menu.append(...conditions(at));
      const last = element("div", "", { class: "row" });
      if (!isCondition && writable) last.append(button(t("remove"), () => removed(chip, [{ from, to }]), { class: "danger" }));
      last.append(button(t("close"), close, { class: "plain" }));
      menu.append(last);
      show(from);
    }

    function position() {
      if (!menu.hidden) placeBelow(menu, field, place);
    }
    function show(from) {
      place = from;
      field.area.closest(".field").append(menu);
      menu.hidden = false;
      position();
      (menu.querySelector("[aria-pressed=true]") || menu.querySelector("button")).focus();
    }
    new ResizeObserver(position).observe(document.body);

    menu.addEventListener("input", (event) => event.stopPropagation()); // its words are no part of the form
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.preventDefault(); close(); }
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (!step || event.target.matches("input")) return;
      event.preventDefault();
      const places = [...menu.querySelectorAll("button, input")];
      places[(places.indexOf(event.target) + step + places.length) % places.length].focus();
    });
    document.addEventListener("mousedown", (event) => { if (!menu.hidden && !menu.contains(event.target)) menu.hidden = true; });
    menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.hidden = true; });
    return { open };
  }

  window.gatewayChips.chipMenu = chipMenu;
  window.gatewayChips.placeBelow = placeBelow;
})();
