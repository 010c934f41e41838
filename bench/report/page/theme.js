// The reader's choice of light or dark, before anything is shown. Without one the system's holds.
try {
  const theme = localStorage.getItem('strand-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // A page from a file may have no storage.
}
document.documentElement.classList.add('scripts');
