/** Select the span that the address names, as `#span=00f067aa0ba902b7`: other pages link to a row so. */
const selectOfAddress = () => {
  const wanted = /^#span=([0-9a-f]{16})$/.exec(location.hash);
  if (!wanted || !shown) return;
  const span = shown.execution.spans.findIndex(([id]) => id === wanted[1]);
  if (span >= 0 && shown.rowOfSpan[span] >= 0) reveal(shown.rowOfSpan[span]);
};
addEventListener("hashchange", selectOfAddress);
