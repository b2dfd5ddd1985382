// On the reviewer's page: words that are selected in a message are put into the field of the comment on it.
// Without this, they are copied or typed.

(() => {
  "use strict";

  document.addEventListener("selectionchange", () => {
    const chosen = document.getSelection();
    const within = chosen && chosen.anchorNode && chosen.anchorNode.parentElement.closest("[data-words]");
    const field = within && document.getElementById(within.dataset.words);
    if (field && within.contains(chosen.focusNode) && !chosen.isCollapsed) field.value = chosen.toString().replace(/\s+/g, " ").trim();
  });
})();
