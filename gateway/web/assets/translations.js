// The page of translations in the browser: both texts with chips in the place of Liquid, or as source. Without this it is
// a plain form.

(() => {
  "use strict";

  const form = document.getElementById("translations"), chips = window.gatewayChips;
  if (!form || !("adoptedStyleSheets" in document && chips.chipMenu)) return;
  const t = chips.phrases(JSON.parse(form.dataset.words)), asSource = document.getElementById("as-source");
  const announced = document.getElementById("announced");
  const announce = (words) => { announced.textContent = words; };
  const menu = chips.chipMenu(t, announce), fields = [];

  for (const place of form.querySelectorAll("[data-read]")) chips.chipWords(place, JSON.parse(place.dataset.read), t);
  for (const code of form.querySelectorAll("[data-chips]")) {
    const field = chips.chipField(code.querySelector("textarea"), JSON.parse(code.dataset.chips), t, {
      changed: () => {},
      picked: (found) => announce(found ? t("picked", { name: chips.wording(found.chip, t).name }) : ""),
      open: (found) => menu.open(field, found),
      keydown: () => false,
    });
    code.classList.add("has-chips");
    fields.push(field);
  }

  function showAs(source) {
    asSource.setAttribute("aria-pressed", String(source));
    form.classList.toggle("as-source", source);
    for (const field of fields) field.refresh();
  }
  asSource.hidden = false;
  asSource.addEventListener("click", () => {
    const source = asSource.getAttribute("aria-pressed") !== "true";
    showAs(source);
    sessionStorage.setItem("editor-source", source ? "yes" : "");
  });
  showAs(sessionStorage.getItem("editor-source") === "yes");
})();
