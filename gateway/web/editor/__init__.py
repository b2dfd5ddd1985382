"""The template editor: texts, previews, reviews, translations, results. It knows no borrower."""
