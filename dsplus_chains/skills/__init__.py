"""Small skills for subtasks: Runnables that find something in a text and know how sure they are."""
