"""Who may open the pages: users, their sessions, and the form, before Streamlit serves anything."""
