"""What `echat bench memory` measures: memory on the turn path, beside aiosqlite and asyncpg."""
